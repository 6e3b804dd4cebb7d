#include "serve/http/reply.h"

#include <exception>
#include <utility>

namespace cairn::serve {
namespace {

// Runs a callback of the answering side. What it throws is its own affair: an io thread serves others too.
void tell(const std::function<void()>& told) {
  if (!told) return;
  try {
    told();
  } catch (const std::exception&) {}
}

}  // namespace

void Exchange::wake() {
  if (!wake_ || waking_) return;
  waking_ = true;
  wake_();
}

bool Exchange::answer(Head head) {
  const std::lock_guard lock(mutex_);
  if (answered_ || gone_) return false;
  answered_ = true;
  ended_ = !head.streams;
  head_ = std::move(head);
  wake();
  return true;
}

Exchange::Push Exchange::push(std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (gone_ || ended_) return Push::kGone;
  // A piece larger than the whole queue passes alone, or it never could.
  if (!queue_.empty() && queue_.size() + bytes.size() > most_queued_) return Push::kFull;
  queue_ += bytes;
  wake();
  return Push::kQueued;
}

void Exchange::end(std::string_view last, bool broken) {
  const std::lock_guard lock(mutex_);
  if (gone_ || ended_) return;
  ended_ = true;
  broken_ = broken;
  queue_ += last;
  wake();
}

void Exchange::on_disconnect(std::function<void()> told) {
  {
    const std::lock_guard lock(mutex_);
    if (!gone_) {
      std::swap(disconnect_, told);  // the old one is destroyed outside the lock
      return;
    }
  }
  tell(told);
}

void Exchange::on_room(std::function<void()> told) {
  {
    const std::lock_guard lock(mutex_);
    if (!gone_ && queue_.size() > most_queued_ / 2) {
      std::swap(room_, told);
      return;
    }
  }
  tell(told);
}

bool Exchange::gone() const {
  const std::lock_guard lock(mutex_);
  return gone_;
}

size_t Exchange::queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

void Exchange::attach(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

bool Exchange::take_head(Head& into) {
  const std::lock_guard lock(mutex_);
  waking_ = false;
  if (!answered_ || head_taken_) return false;
  head_taken_ = true;
  into = std::move(head_);
  return true;
}

Exchange::Taken Exchange::take() {
  Taken out;
  std::function<void()> room;
  {
    const std::lock_guard lock(mutex_);
    waking_ = false;
    out.bytes.swap(queue_);
    out.ended = ended_;
    out.broken = broken_;
    room = std::exchange(room_, nullptr);
  }
  tell(room);
  return out;
}

void Exchange::leave() {
  std::function<void()> disconnect, room;
  {
    const std::lock_guard lock(mutex_);
    if (gone_) return;
    gone_ = true;
    std::string().swap(queue_);
    wake_ = nullptr;
    disconnect = std::exchange(disconnect_, nullptr);
    room = std::exchange(room_, nullptr);
  }
  tell(disconnect);
  tell(room);
}

void Exchange::detach() {
  std::function<void()> disconnect, room;
  {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    wake_ = nullptr;
    disconnect = std::exchange(disconnect_, nullptr);
    room = std::exchange(room_, nullptr);
  }
}

struct Stream::Tail {
  explicit Tail(std::shared_ptr<Exchange> of) : exchange(std::move(of)) {}
  ~Tail() { exchange->end({}, true); }
  Tail(const Tail&) = delete;
  Tail& operator=(const Tail&) = delete;
  std::shared_ptr<Exchange> exchange;
};

Stream::Stream(std::shared_ptr<Exchange> exchange)
    : exchange_(std::move(exchange)), tail_(std::make_shared<Tail>(exchange_)) {}

Reply::~Reply() { error(ApiError{500, "the server gave no answer to this request", {}, {}}); }

void Reply::whole(int status, std::string content_type, std::string body, Headers more) {
  more.emplace_back("Content-Type", std::move(content_type));
  exchange_->answer({status, std::move(more), false, std::move(body)});
}

void Reply::json(int status, std::string body, Headers more) {
  whole(status, "application/json", std::move(body), std::move(more));
}

void Reply::error(const ApiError& e) {
  Headers more;
  if (e.status == 503 || e.status == 429) more.emplace_back("Retry-After", "1");
  json(e.status, error_body(e), std::move(more));
}

Stream Reply::stream(std::string content_type, Headers more) {
  more.emplace_back("Content-Type", std::move(content_type));
  more.emplace_back("Cache-Control", "no-cache");
  exchange_->answer({200, std::move(more), true, {}});
  return Stream(exchange_);
}

std::string sse(std::string_view data) {
  std::string out;
  out.reserve(data.size() + 8);
  out += "data: ";
  out += data;
  return out += "\n\n";
}

std::string sse(std::string_view event, std::string_view data) {
  std::string out;
  out.reserve(event.size() + data.size() + 16);
  out += "event: ";
  out += event;
  out += '\n';
  return out += sse(data);
}

}  // namespace cairn::serve
