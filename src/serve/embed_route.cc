// /v1/embeddings.
#include <algorithm>
#include <cmath>
#include <mutex>

#include "serve/language_routes.h"

namespace cairn::serve {
namespace {

// One HTTP request for vectors under way. The engine's thread hears of all of them.
class Embedding : public std::enable_shared_from_this<Embedding> {
 public:
  Embedding(const EmbeddingRequest& request, const LanguageModel& model, std::shared_ptr<Reply> reply)
      : request_(request), model_(model), reply_(std::move(reply)) {}

  void start(std::vector<llm::Generate> asks) {
    vectors_.resize(asks.size());
    left_ = asks.size();
    model_.metrics().requests.add(static_cast<double>(asks.size()));
    for (size_t i = 0; i < asks.size(); ++i) {
      auto ticket = model_.engine().submit(std::move(asks[i]), std::make_shared<Sink>(shared_from_this(), i));
      if (!ticket) return failed(api_error(ticket.error()));
      const std::lock_guard lock(mutex_);
      if (over_) return;
      tickets_.push_back(*std::move(ticket));
    }
    reply_->on_disconnect([weak = weak_from_this()] {
      if (const auto job = weak.lock()) job->leave();
    });
  }

 private:
  class Sink final : public llm::Sink {
   public:
    Sink(std::shared_ptr<Embedding> job, size_t index) : job_(std::move(job)), index_(index) {}
    bool token(const llm::Choice&) override { return false; }
    void embedding(std::vector<float> vector) override { job_->vectors_[index_] = std::move(vector); }
    void done(const llm::Done& done) override { job_->done(done); }
    void failed(const Error& error) override { job_->failed(api_error(error)); }

   private:
    const std::shared_ptr<Embedding> job_;
    const size_t index_;
  };

  void done(const llm::Done& done) {
    model_.metrics().prompt_tokens.add(static_cast<double>(done.prompt_tokens));
    const std::lock_guard lock(mutex_);
    tokens_ += done.prompt_tokens;
    if (over_ || --left_ > 0) return;
    over_ = true;
    for (auto& v : vectors_) finish(v);
    reply_->json(200, embeddings_json(model_.name(), vectors_, request_.base64, tokens_));
  }

  // Cut to the wanted dimensions, then scaled to length one.
  void finish(std::vector<float>& v) const {
    if (request_.dimensions) v.resize(std::min(v.size(), static_cast<size_t>(*request_.dimensions)));
    if (!request_.normalize) return;
    double sum = 0;
    for (const float x : v) sum += double{x} * double{x};
    if (sum > 0)
      for (float& x : v) x = static_cast<float>(double{x} / std::sqrt(sum));
  }

  void failed(const ApiError& error) {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
    tickets_.clear();
    reply_->error(error);
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    over_ = true;
    tickets_.clear();
  }

  const EmbeddingRequest request_;
  const LanguageModel& model_;
  const std::shared_ptr<Reply> reply_;
  std::mutex mutex_;
  std::vector<llm::Engine::Ticket> tickets_;
  std::vector<std::vector<float>> vectors_;
  int64_t tokens_ = 0;
  size_t left_ = 0;
  bool over_ = false;
};

}  // namespace

void embed(const EmbeddingRequest& request, const LanguageModel& model, std::shared_ptr<Reply> reply) {
  std::vector<llm::Generate> asks;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const std::string param = request.inputs.size() == 1 ? "input" : "input[" + std::to_string(i) + "]";
    auto ids = model.ids_of(request.inputs[i], param);
    if (!ids) return reply->error(ids.error());
    llm::Generate g;
    g.prompt = *std::move(ids);
    g.sampling.max_new_tokens = 0;
    g.embed = request.pooling == "mean" ? llm::Pooling::kMean : llm::Pooling::kLast;
    asks.push_back(std::move(g));
  }
  std::make_shared<Embedding>(request, model, std::move(reply))->start(std::move(asks));
}

}  // namespace cairn::serve
