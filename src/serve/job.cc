#include "serve/job.h"

namespace cairn::serve {

Job::Job(const LanguageModel& model, std::shared_ptr<Reply> reply, Desk& desk)
    : model_(model), reply_(std::move(reply)), desk_(desk) {}

Job::~Job() {
  for (const State& s : answers_) desk_.remove(s.rid, this);
}

void Job::start(std::vector<Ask> asks) {
  std::vector<std::shared_ptr<AnswerSink>> sinks;
  for (size_t i = 0; i < asks.size(); ++i) {
    if (asks[i].config.logprobs) model_.bytes_of(0);  // worked out at its first use: here, not on the engine's thread
    if (asks[i].generate.logprob_start == 0 && !asks[i].generate.prompt.empty())
      asks[i].config.first = asks[i].generate.prompt.front();
    auto sink = AnswerSink::make(model_, std::move(asks[i].config), asks[i].generate.prompt, i, shared_from_this());
    if (!sink) return reply_->error(sink.error());
    sinks.push_back(*std::move(sink));
  }
  {
    const std::lock_guard lock(mutex_);
    open_ = asks.size();
    answers_.resize(asks.size());
    for (size_t i = 0; i < asks.size(); ++i) {
      answers_[i].rid = asks[i].rid;
      answers_[i].usage.prompt_tokens = static_cast<int64_t>(asks[i].generate.prompt.size());
      desk_.add(asks[i].rid, shared_from_this(), i);
    }
  }
  model_.metrics().requests.add(static_cast<double>(asks.size()));
  for (size_t i = 0; i < asks.size(); ++i) {
    auto ticket = model_.engine().submit(std::move(asks[i].generate), std::move(sinks[i]));
    if (!ticket) return failed(i, api_error(ticket.error()));
    const std::lock_guard lock(mutex_);
    if (over_) return;
    if (answers_[i].open) answers_[i].ticket = *std::move(ticket);
  }
  reply_->on_disconnect([weak = weak_from_this()] {
    if (const auto job = weak.lock()) job->leave();
  });
}

void Job::leave() {
  const std::lock_guard lock(mutex_);
  if (!over_) close(nullptr);
}

// Nothing more comes of what is open. With an error, the client hears of it.
void Job::close(const ApiError* error) {
  over_ = true;
  model_.metrics().aborted.add(static_cast<double>(open_));
  for (State& s : answers_) s.ticket = {};
  if (!error) return;
  if (!stream_) return reply_->error(*error);
  stream_->end(error_event(*error) + std::string(kSseDone));
}

std::string Job::error_event(const ApiError& error) const { return sse(error_body(error)); }

void Job::abort(size_t answer) {
  const std::lock_guard lock(mutex_);
  if (over_ || !answers_[answer].open) return;
  State& s = answers_[answer];
  s.ticket = {};
  s.open = false;
  model_.metrics().aborted.add();
  Finish finish;
  finish.why = Finish::Why::kAbort;
  finish.message = "ended by /abort_request";
  on_finished(answer, finish, s.usage);
  if (over_ || --open_ > 0) return;
  over_ = true;
  on_complete();
}

void Job::prompt(size_t answer, std::vector<TokenLogprob> logprobs) {
  const std::lock_guard lock(mutex_);
  if (!over_ && answers_[answer].open) on_prompt(answer, std::move(logprobs));
}

void Job::piece(size_t answer, Piece piece) {
  const std::lock_guard lock(mutex_);
  if (over_ || !answers_[answer].open) return;
  answers_[answer].usage.completion_tokens += static_cast<int64_t>(piece.ids.size());
  on_piece(answer, std::move(piece));
}

void Job::finished(size_t answer, Finish finish, Usage usage) {
  const std::lock_guard lock(mutex_);
  if (over_ || !answers_[answer].open) return;
  answers_[answer].open = false;
  on_finished(answer, finish, usage);
  if (over_ || --open_ > 0) return;
  over_ = true;
  on_complete();
}

void Job::failed(size_t, const ApiError& error) {
  const std::lock_guard lock(mutex_);
  if (!over_) close(&error);
}

void Job::send(std::string_view event) {
  if (!stream_) stream_ = reply_->events();
  if (stream_->write(event) != Stream::Push::kFull) return;
  const ApiError slow{503, "the client reads more slowly than the answer comes", {}, {}};
  close(&slow);
}

void Job::end(std::string_view last) {
  if (!stream_) stream_ = reply_->events();
  stream_->end(last);
}

void Desk::add(const std::string& rid, const std::shared_ptr<Job>& job, size_t answer) {
  const std::lock_guard lock(mutex_);
  entries_.emplace(rid, Entry{job.get(), job, answer});
}

void Desk::remove(const std::string& rid, const Job* job) {
  const std::lock_guard lock(mutex_);
  const auto [first, last] = entries_.equal_range(rid);
  for (auto it = first; it != last;) it = it->second.key == job ? entries_.erase(it) : std::next(it);
}

size_t Desk::abort(const std::string& rid) {
  std::vector<Entry> found;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = entries_.lower_bound(rid); it != entries_.end() && it->first.starts_with(rid); ++it)
      found.push_back(it->second);
  }
  size_t ended = 0;
  for (const Entry& e : found)
    if (const auto job = e.job.lock()) job->abort(e.answer), ++ended;
  return ended;
}

}  // namespace cairn::serve
