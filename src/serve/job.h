// One HTTP request to a language model under way: its answers, the reply, and the ways to end it early.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "serve/answer.h"
#include "serve/http/reply.h"

namespace cairn::serve {

class Desk;

class Job : public Listener, public std::enable_shared_from_this<Job> {
 public:
  // `desk` may be asked for the job's answers by name while it runs.
  Job(const LanguageModel& model, std::shared_ptr<Reply> reply, Desk& desk);
  ~Job() override;

  struct Ask {
    llm::Generate generate;
    AnswerConfig config;
    std::string rid;
  };
  // Hands all answers to the engine. One that is refused refuses the request.
  void start(std::vector<Ask> asks);
  // Ends one answer: its client asked for that.
  void abort(size_t answer);

  void prompt(size_t answer, std::vector<TokenLogprob> logprobs) final;
  void piece(size_t answer, Piece piece) final;
  void finished(size_t answer, Finish finish, Usage usage) final;
  void failed(size_t answer, const ApiError& error) final;

 protected:
  // Called one at a time, and never after the reply is complete.
  virtual void on_prompt(size_t, std::vector<TokenLogprob>) {}
  virtual void on_piece(size_t answer, Piece piece) = 0;
  virtual void on_finished(size_t answer, const Finish& finish, const Usage& usage) = 0;
  virtual void on_complete() = 0;  // all answers are finished
  virtual std::string error_event(const ApiError& error) const;

  const LanguageModel& model() const { return model_; }
  Reply& reply() const { return *reply_; }
  // One more event of a reply that streams; the first one begins it.
  void send(std::string_view event);
  void end(std::string_view last);

 private:
  struct State {
    llm::Engine::Ticket ticket;
    std::string rid;
    Usage usage;
    bool open = true;
  };
  void close(const ApiError* error);
  void leave();

  const LanguageModel& model_;
  const std::shared_ptr<Reply> reply_;
  Desk& desk_;
  std::mutex mutex_;
  std::vector<State> answers_;
  std::optional<Stream> stream_;
  size_t open_ = 0;
  bool over_ = false;
};

// The answers under way, by the names that their clients gave them.
class Desk {
 public:
  void add(const std::string& rid, const std::shared_ptr<Job>& job, size_t answer);
  void remove(const std::string& rid, const Job* job);
  // Ends all answers whose name begins with `rid`; "" is all. Returns how many.
  size_t abort(const std::string& rid);

 private:
  struct Entry {
    const Job* key = nullptr;
    std::weak_ptr<Job> job;
    size_t answer = 0;
  };
  std::mutex mutex_;
  std::multimap<std::string, Entry> entries_;
};

}  // namespace cairn::serve
