#include "serve/app.h"

#include "device/health.h"
#include "serve/page/page.h"

#include <atomic>

namespace cairn::serve {
namespace {

constexpr const char* kVersion = CAIRN_VERSION;

// Answers a health check with the first token of each model.
class HealthSink final : public llm::Sink {
 public:
  struct Check {
    std::shared_ptr<Reply> reply;
    std::vector<llm::Engine::Ticket> tickets;
    std::atomic<size_t> left{0};
  };
  explicit HealthSink(std::shared_ptr<Check> check) : check_(std::move(check)) {}
  bool token(const llm::Choice&) override { return true; }
  void done(const llm::Done&) override {
    if (--check_->left == 0) check_->reply->whole(200, "text/plain", "OK\n");
  }
  void failed(const Error& error) override { check_->reply->error(ApiError{503, error.what, {}, {}}); }

 private:
  std::shared_ptr<Check> check_;
};

}  // namespace

template <class Run>
Handler App::worked(Run run) {
  return [this, run](HttpRequest q, std::shared_ptr<Reply> reply) {
    const auto request = std::make_shared<HttpRequest>(std::move(q));
    const bool taken = workers_.post([run, request, reply] {
      if (reply->gone()) return;
      const auto ran = caught([&] { run(*request, reply); });
      if (!ran) reply->error(ran.error());
    });
    if (!taken) reply->error(ApiError{503, "too many requests are waiting: try again later", {}, {}});
  };
}

template <class R, class Run>
Handler App::parsed(Parsed<R> (*parse)(const Json&), Run run) {
  return worked([parse, run](const HttpRequest& q, const std::shared_ptr<Reply>& reply) {
    const auto body = json_body(q);
    if (!body) return reply->error(body.error());
    const auto parsed = parse(*body);
    if (!parsed) return reply->error(parsed.error());
    run(*parsed, reply);
  });
}

template <class R, class Run>
Handler App::asked(Parsed<R> (*parse)(const Json&), Run run) {
  return parsed(parse, [this, run](const R& request, const std::shared_ptr<Reply>& reply) {
    std::string name;
    if constexpr (requires { request.model; }) name = request.model;
    const auto model = language(name);
    if (!model) return reply->error(model.error());
    run(request, **model, reply);
  });
}

std::vector<ModelCard> App::cards() const {
  std::vector<ModelCard> out;
  for (const auto& m : languages_) out.push_back(m->card());
  for (const auto& m : pictures_) out.push_back(m->card());
  return out;
}

std::vector<std::string> App::names() const {
  std::vector<std::string> out;
  for (const auto& card : cards()) out.push_back(card.id);
  return out;
}

Parsed<const LanguageModel*> App::language(const std::string& name) const {
  for (const auto& m : languages_)
    if (name.empty() || name == "default" || name == m->name()) return m.get();
  return tl::unexpected<ApiError>(no_such_model(name, cards()));
}

Parsed<const PictureModel*> App::picture(const std::string& name) const {
  for (const auto& m : pictures_)
    if (name.empty() || name == "default" || name == m->name()) return m.get();
  return tl::unexpected<ApiError>(no_such_model(name, cards()));
}

Router App::router() {
  Router r;
  add_openai(r);
  add_pictures(r);
  add_native(r);
  add_operations(r);
  add_page(r);
  return r;
}

void App::add_openai(Router& r) {
  r.add({"GET", "/v1/models", "the models of this server",
         [this](HttpRequest, auto reply) { reply->json(200, models_json(cards())); }});
  r.add({"GET", "/v1/models/{model}", "one model", [this](HttpRequest q, auto reply) {
           for (const auto& card : cards())
             if (card.id == q.rest) return reply->json(200, model_json(card));
           reply->error(no_such_model(q.rest, cards()));
         }});
  r.add({"POST", "/v1/completions", "continues texts",
         asked(parse_completion,
               [this](const auto& q, const auto& model, auto reply) { complete(q, model, desk_, reply); })});
  r.add({"POST", "/v1/chat/completions", "answers a conversation",
         asked(parse_chat, [this](const auto& q, const auto& model, auto reply) { chat(q, model, desk_, reply); })});
  r.add({"POST", "/v1/embeddings", "texts to vectors",
         asked(parse_embedding, [](const auto& q, const auto& model, auto reply) { embed(q, model, reply); })});
  for (const char* path : {"/tokenize", "/v1/tokenize"})
    r.add({"POST", path, "text to token ids",
           asked(parse_tokenize, [](const auto& q, const auto& model, auto reply) { tokenize(q, model, *reply); })});
  for (const char* path : {"/detokenize", "/v1/detokenize"})
    r.add({"POST", path, "token ids to text", asked(parse_detokenize, [](const auto& q, const auto& model, auto reply) {
             detokenize(q, model, *reply);
           })});
}

void App::add_pictures(Router& r) {
  const auto make = [this](const Parsed<ImageRequest>& request, ImageAnswer::Route route,
                           const std::shared_ptr<Reply>& reply) {
    if (!request) return reply->error(request.error());
    const auto model = picture(request->model);
    if (!model) return reply->error(model.error());
    make_pictures(*request, route, **model, workers_, reply);
  };
  r.add({"POST", "/v1/images/generations", "text to pictures",
         worked([make](const HttpRequest& q, const std::shared_ptr<Reply>& reply) {
           const auto body = json_body(q);
           if (!body) return reply->error(body.error());
           make(parse_image_generation(*body), ImageAnswer::Route::kGeneration, reply);
         })});
  r.add({"POST", "/v1/images/edits", "a picture and text to pictures",
         worked([make](const HttpRequest& q, const std::shared_ptr<Reply>& reply) {
           make(parse_image_edit(q), ImageAnswer::Route::kEdit, reply);
         })});
}

void App::add_native(Router& r) {
  const auto native = worked([this](const HttpRequest& q, const std::shared_ptr<Reply>& reply) {
    const auto body = json_body(q);
    if (!body) return reply->error(body.error());
    if (body->find("prompt") && !pictures_.empty()) {
      const auto request = parse_image_generate(*body);
      if (!request) return reply->error(request.error());
      return make_native_pictures(*request, *pictures_.front(), workers_, reply);
    }
    const auto request = parse_generate(*body);
    if (!request) return reply->error(request.error());
    const auto model = language("");
    if (!model) return reply->error(model.error());
    generate(*request, **model, desk_, reply);
  });
  for (const char* method : {"POST", "PUT"})
    r.add({method, "/generate", "SGLang's own route to a language model; with `prompt`, cache-dit's to a picture model",
           native});
  r.add({"POST", "/abort_request", "ends answers by their rid",
         parsed(parse_abort, [this](const AbortRequest& q, const std::shared_ptr<Reply>& reply) {
           const size_t ended = desk_.abort(q.all ? "" : q.rid);
           reply->whole(200, "text/plain", "ended " + std::to_string(ended) + " answers\n");
         })});
  for (const char* method : {"GET", "POST"})
    r.add({method, "/flush_cache", "forgets all cached prefixes; refused while requests run",
           [this](HttpRequest, std::shared_ptr<Reply> reply) {
             const bool taken = workers_.post([this, reply] {
               for (const auto& m : languages_)
                 if (const auto flushed = m->engine().flush_cache(); !flushed)
                   return reply->error(ApiError{400, flushed.error().what, {}, {}});
               reply->whole(200, "text/plain", "Cache flushed.\n");
             });
             if (!taken) reply->error(ApiError{503, "too many requests are waiting: try again later", {}, {}});
           }});
}

void App::add_operations(Router& r) {
  const auto open = [&](const char* path, const char* help, Handler handler) {
    r.add({"GET", path, help, std::move(handler), true});
  };
  open("/health", "200 while the server takes requests and its devices answer", [](HttpRequest, auto reply) {
    if (const auto ok = device::health(); !ok) return reply->error(ok.error());
    reply->whole(200, "text/plain", "OK\n");
  });
  open("/health_generate", "200 once every language model has made a token",
       [this](HttpRequest, auto reply) { health_generate(reply); });
  open("/metrics", "what is counted, for Prometheus",
       [this](HttpRequest, auto reply) { reply->whole(200, std::string(Registry::kContentType), metrics_.text()); });
  for (const char* path : {"/get_model_info", "/model_info"})
    r.add({"GET", path, "the first model", [this](HttpRequest, auto reply) { reply->json(200, model_info()); }});
  for (const char* path : {"/get_server_info", "/server_info"})
    r.add({"GET", path, "settings, and the state of the engines",
           [this](HttpRequest, auto reply) { reply->json(200, server_info()); }});
}

void App::health_generate(const std::shared_ptr<Reply>& reply) const {
  const auto check = std::make_shared<HealthSink::Check>();
  check->reply = reply;
  if (const auto ok = device::health(); !ok) return reply->error(ok.error());
  check->left = languages_.size();
  if (languages_.empty()) return reply->whole(200, "text/plain", "OK\n");
  const auto sink = std::make_shared<HealthSink>(check);
  for (const auto& m : languages_) {
    llm::Generate g;
    g.prompt = {0};
    g.sampling.temperature = 0;
    g.sampling.max_new_tokens = 1;
    auto ticket = m->engine().submit(std::move(g), sink);
    if (!ticket) return reply->error(ApiError{503, ticket.error().what, {}, {}});
    check->tickets.push_back(*std::move(ticket));
  }
}

std::string App::model_info() const {
  JsonWriter w;
  w.begin_object();
  if (!languages_.empty()) {
    const LanguageModel& m = *languages_.front();
    w.field("model_path", m.options().folder).field("tokenizer_path", m.options().folder);
    w.field("served_model_name", m.name()).field("is_generation", true);
    w.key("preferred_sampling_params").null().field("weight_version", "default");
    w.field("reasoning_parser", m.reasoning_parser()).field("tool_call_parser", m.tool_call_parser());
  }
  return w.end_object().take();
}

std::string App::server_info() const {
  Json all = options_.settings;
  Json::Array states;
  for (const auto& m : languages_) {
    const llm::EngineStats s = m->engine().stats();
    states.push_back(Json::Object{{"model", m->name()},
                                  {"running", s.running},
                                  {"waiting", s.waiting},
                                  {"blocks", s.blocks},
                                  {"free_blocks", s.free_blocks},
                                  {"cached_blocks", s.cached_blocks},
                                  {"prompt_tokens", s.prompt_tokens},
                                  {"cached_tokens", s.cached_tokens},
                                  {"generated_tokens", s.generated_tokens},
                                  {"steps", s.steps},
                                  {"finished", s.finished},
                                  {"retractions", s.retractions}});
  }
  all.set("internal_states", std::move(states));
  all.set("version", kVersion);
  return all.dump();
}

}  // namespace cairn::serve
