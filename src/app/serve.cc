// cairn serve: language models and pictures over HTTP.
#include "serve/http/server.h"

#include <fmt/core.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "app/commands.h"
#include "app/flags.h"
#include "app/options.h"
#include "base/file.h"
#include "base/strings.h"
#include "device/health.h"
#include "models/language.h"
#include "ops/attention.h"
#include "serve/app.h"

namespace cairn::app {
namespace {

namespace fs = std::filesystem;

struct ServeOptions {
  std::vector<std::string> models;
  std::string synthetic, dtype = "bf16", device = "cpu", threads_bind, reasoning_parser = "auto",
                         tool_call_parser = "auto", chat_template;
  int64_t threads = 0, page_size = 0, max_total_tokens = 0, max_running_images = 8, max_queued_images = 64,
          watchdog_timeout = 300;
  std::optional<int64_t> random_seed;
  std::optional<std::string> attn;
  double mem_fraction_static = 0.5;

  void fields(auto& f) {
    f("model_path", models, "NAME=DIR or DIR, several with commas; the embedded models without",
      alias({"model", "models"}));
    f("synthetic", synthetic, "a language model's shape without its files, see `cairn complete --help`");
    f("dtype", dtype, "numbers to compute with", one_of({"bf16", "fp32", "fp16"}));
    f("device", device, "where to compute")("threads", threads, "processor threads; 0: one a core", between(0, 4096));
    f("threads_bind", threads_bind, "processors that they are bound to, as 0-7,16; without: the system places them");
    f("chat_template", chat_template, "file with a chat template to use instead of the model's own");
    f("reasoning_parser", reasoning_parser,
      "how thoughts are marked: qwen3, deepseek-r1, ..., none; auto: as the chat template shows");
    f("tool_call_parser", tool_call_parser,
      "how tool calls are written: qwen, llama3, mistral, deepseekv3, none; auto: as the chat template shows");
    f("page_size", page_size, "tokens in a block of the cache of keys and values; 0: 16, on an NPU 128",
      alias({"block_size"}).between(0, 1024));
    f("mem_fraction_static", mem_fraction_static, "share of the memory that is left for that cache",
      between(0.001, 0.99));
    f("max_total_tokens", max_total_tokens, "tokens that it holds at most; 0: as many as fit", at_least(0));
    f("attn", attn, kAttnHelp);
    f("max_running_images", max_running_images, "pictures computed at once", between(1, 256));
    f("max_queued_images", max_queued_images, "requests for pictures that may wait; more get a 503", at_least(0));
    f("watchdog_timeout", watchdog_timeout,
      "seconds after which an accelerator that does not finish a step counts as lost; 0: never", between(0, 86400));
    f("random_seed", random_seed, "for requests without a seed of their own; another at every start when left out",
      at_least(0));
  }
};

struct HttpOptions {
  std::string host = "127.0.0.1", port_file, api_key, access_log = "-";
  int64_t port = 30000, max_body_mb = 64, max_connections = 4096, drain_timeout = 30, idle_timeout = 75,
          read_timeout = 30, write_timeout = 30;
  std::vector<std::string> cors_origins;

  void fields(auto& f) {
    f("host", host, "address to listen on; 0.0.0.0 is every one")("port", port, "0: a free one", between(0, 65535));
    f("port_file", port_file, "file that gets the port once the server listens");
    f("api_key", api_key, "what clients must send as `Authorization: Bearer KEY`");
    f("cors_origins", cors_origins, "origins whose pages may read answers; * is all");
    f("access_log", access_log, "file for a line of JSON a request; - is standard error, none is none");
    f("max_body_mb", max_body_mb, "largest body of a request, in MiB", between(1, 4096));
    f("max_connections", max_connections, "connections at once; more get a 503", between(1, 1e6));
    f("idle_timeout", idle_timeout, "seconds between two requests of a connection", between(1, 86400));
    f("read_timeout", read_timeout, "seconds for a request to arrive", between(1, 86400));
    f("write_timeout", write_timeout, "seconds in which a client takes nothing of its answer", between(1, 86400));
    f("drain_timeout", drain_timeout, "seconds that answers under way get after SIGTERM or Ctrl-C", between(0, 86400));
  }
};

struct Named {
  std::string name, folder;
};

Result<std::vector<Named>> models_of(const ServeOptions& o) {
  std::vector<Named> out;
  if (o.models.empty() && o.synthetic.empty()) {
    for (const char* name : {"cairn-tiny-lm", "cairn-emoji"}) out.push_back({name, TRY(embedded_model(name))});
    return out;
  }
  for (const std::string& word : o.models) {
    const size_t equals = fs::is_directory(word) ? std::string::npos : word.find('=');
    Named one{equals == std::string::npos ? "" : word.substr(0, equals),
              equals == std::string::npos ? word : word.substr(equals + 1)};
    if (!fs::is_directory(one.folder)) return invalid("--model: there is no folder " + one.folder);
    if (one.name.empty()) one.name = fs::path(one.folder + "/.").lexically_normal().parent_path().filename().string();
    for (const Named& other : out)
      if (other.name == one.name)
        return invalid("--model: two models are called " + one.name + ": give names as in --model NAME=DIR");
    out.push_back(std::move(one));
  }
  return out;
}

class AccessLog {
 public:
  static Result<std::shared_ptr<AccessLog>> open(const std::string& path) {
    auto log = std::make_shared<AccessLog>();
    if (path == "none") return log;
    log->file_ = path == "-" ? stderr : std::fopen(path.c_str(), "a");
    if (!log->file_) return invalid("--access-log: cannot write " + path);
    return log;
  }
  ~AccessLog() {
    if (file_ && file_ != stderr) std::fclose(file_);
  }
  void operator()(const serve::AccessRecord& record) const {
    if (!file_) return;
    const std::string line = serve::access_line(record);
    std::fwrite(line.data(), 1, line.size(), file_);  // one call, so that lines stay whole
    std::fflush(file_);
  }

 private:
  std::FILE* file_ = nullptr;
};

std::atomic<bool> terminated{false};

Result<void> add_models(serve::App& app, const ServeOptions& o, const llm::Engine::Options& engine) {
  const auto device = TRY(device::open(o.device));
  TRY_VOID(device::set_threads(o.threads, o.threads_bind));
  const Dtype dtype = device::compute_dtype(device, TRY(parse_dtype(o.dtype)));
  const auto named = TRY(models_of(o));
  if (o.attn) TRY_VOID(ops::select_attention(device, *o.attn, dtype));
  const auto pictures = [](const Named& n) { return fs::exists(n.folder + "/model_index.json"); };
  const auto languages = static_cast<double>(named.size()) -
                         static_cast<double>(std::ranges::count_if(named, pictures)) + (o.synthetic.empty() ? 0 : 1);
  const auto add = [&](std::unique_ptr<llm::CausalLm> model, Named n) -> Result<void> {
    llm::Engine::Options e = engine;
    e.block_size = o.page_size ? o.page_size : llm::default_block_size(device);
    e.blocks = (o.max_total_tokens + e.block_size - 1) / e.block_size;
    e.mem_fraction_static = o.mem_fraction_static / languages;
    e.random_seed = o.random_seed ? static_cast<uint64_t>(*o.random_seed) : std::random_device{}();
    serve::LanguageModelOptions l{n.name, n.folder, o.chat_template, o.reasoning_parser, o.tool_call_parser};
    app.add(TRY(serve::LanguageModel::start(std::move(model), std::move(l), std::move(e), app.metrics())));
    return {};
  };
  for (const Named& n : named) {
    if (!pictures(n)) {
      TRY_VOID(add(TRY(models::load_language_model(n.folder, dtype, device)), n));
      continue;
    }
    ModelOptions m;
    m.model_path = n.folder, m.dtype = o.dtype, m.device = o.device, m.threads = o.threads;
    auto pipeline = TRY(load_model(m, true));
    app.add(TRY(serve::PictureModel::start(std::move(pipeline), n.name,
                                           {.max_running_pictures = o.max_running_images,
                                            .max_queued_requests = o.max_queued_images,
                                            .graphs = !engine.graph.disable},
                                           app.metrics())));
  }
  if (!o.synthetic.empty())
    TRY_VOID(add(TRY(models::synthetic_language_model(o.synthetic, dtype, device)), {o.synthetic, ""}));
  return {};
}

}  // namespace

Result<int> serve(const Arguments& args) {
  Flags flags("cairn serve [FLAGS]", "Serves models over HTTP: OpenAI's routes, SGLang's, and a page at /.");
  ServeOptions o;
  HttpOptions http;
  llm::Engine::Options engine;
  engine.scheduler.context_length = 131072;
  engine.scheduler.mixed_chunk_size = 512;
  flags.add("Models", o);
  flags.add("HTTP", http);
  flags.add("Scheduling", engine.scheduler);
  flags.add("Speculation", engine.speculative);
  flags.add("Graphs", engine.graph);
  if (!TRY(flags.parse(args))) return 0;
  const auto log = TRY(AccessLog::open(http.access_log));
  serve::App::Options app_options;
  app_options.settings = write(o);
  serve::App app(std::move(app_options));
  device::set_patience(std::chrono::seconds(o.watchdog_timeout));
  TRY_VOID(add_models(app, o, engine));
  serve::ServerOptions s;
  s.host = http.host;
  s.port = static_cast<uint16_t>(http.port);
  s.api_key = http.api_key;
  s.cors_origins = http.cors_origins;
  s.limits.body_bytes = static_cast<uint64_t>(http.max_body_mb) << 20;
  s.most_connections = static_cast<size_t>(http.max_connections);
  s.idle_timeout = std::chrono::seconds(http.idle_timeout);
  s.read_timeout = std::chrono::seconds(http.read_timeout);
  s.write_timeout = std::chrono::seconds(http.write_timeout);
  s.on_access = [log](const serve::AccessRecord& record) { (*log)(record); };
  const auto server = TRY(serve::Server::start(std::move(s), app.router()));
  if (!http.port_file.empty()) TRY_VOID(write_file(http.port_file, std::to_string(server->port()) + "\n"));
  fmt::print("Serving {} at {}\n  {}/v1  for OpenAI's clients\n", join(app.names(), ", "), server->url(),
             server->url());
  std::fflush(stdout);
  std::signal(SIGTERM, [](int) { terminated = true; });
  while (!interrupted && !terminated) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  fmt::print(stderr, "cairn: finishing {} connections\n", server->connections());
  const bool whole = server->drain(std::chrono::seconds(http.drain_timeout));
  if (!whole) fmt::print(stderr, "cairn: answers were cut after {} s\n", http.drain_timeout);
  if (const auto ok = device::health(); !ok) {
    fmt::print(stderr, "cairn: {}\n", ok.error().what);
    std::_Exit(1);  // nothing waits for a device that stands still
  }
  return 0;
}

}  // namespace cairn::app
