// The models of a server and the routes to them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "serve/http/router.h"
#include "serve/language_routes.h"
#include "serve/picture_routes.h"
#include "serve/workers.h"

namespace cairn::serve {

class App {
 public:
  struct Options {
    Json settings;  // what the server was started with, for /get_server_info
    int workers = 2;
    size_t most_waiting = 4096;  // requests that wait for a worker; more get a 503
  };
  explicit App(Options options) : options_(std::move(options)), workers_(options_.workers, options_.most_waiting) {}
  // What workers run refers to the models, and what the models' engines still say goes to the workers.
  ~App() { workers_.stop(); }

  // Before router().
  void add(std::unique_ptr<LanguageModel> model) { languages_.push_back(std::move(model)); }
  void add(std::unique_ptr<PictureModel> model) { pictures_.push_back(std::move(model)); }
  Registry& metrics() { return metrics_; }
  std::vector<std::string> names() const;

  // The handlers refer to this object, which must outlive the server that runs them.
  Router router();

 private:
  // A handler that does its work on a worker: `run`(request, reply).
  template <class Run>
  Handler worked(Run run);
  // The same, for a body that is parsed first.
  template <class R, class Run>
  Handler parsed(Parsed<R> (*parse)(const Json&), Run run);
  // The same for requests that name a language model: `run`(request, model, reply).
  template <class R, class Run>
  Handler asked(Parsed<R> (*parse)(const Json&), Run run);
  Parsed<const LanguageModel*> language(const std::string& name) const;
  Parsed<const PictureModel*> picture(const std::string& name) const;
  std::vector<ModelCard> cards() const;

  void add_openai(Router& r);
  void add_pictures(Router& r);
  void add_native(Router& r);
  void add_operations(Router& r);
  void health_generate(const std::shared_ptr<Reply>& reply) const;
  std::string model_info() const;
  std::string server_info() const;

  Options options_;
  Registry metrics_;
  Desk desk_;
  Workers workers_;
  std::vector<std::unique_ptr<LanguageModel>> languages_;
  std::vector<std::unique_ptr<PictureModel>> pictures_;
};

}  // namespace cairn::serve
