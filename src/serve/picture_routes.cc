#include "serve/picture_routes.h"

#include <algorithm>
#include <chrono>
#include <mutex>

#include "serve/api/completion_parts.h"

namespace cairn::serve {
namespace {

using Clock = std::chrono::steady_clock;

double unix_now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

image::Format format_of(const std::string& name) {
  return name == "png" ? image::Format::kPng : name == "webp" ? image::Format::kWebp : image::Format::kJpeg;
}

// One HTTP request for pictures under way.
class PictureJob : public std::enable_shared_from_this<PictureJob> {
 public:
  PictureJob(const ImageRequest& request, ImageAnswer head, const PictureModel& model, Workers& workers,
             std::shared_ptr<Reply> reply)
      : request_(request), head_(std::move(head)), model_(model), workers_(workers), reply_(std::move(reply)) {}
  virtual ~PictureJob() = default;

  void start(std::vector<diffusion::Request> requests) {
    const size_t count = requests.size();
    made_.resize(count);
    previews_.resize(count);
    left_ = count;
    model_.metrics().requests.add(static_cast<double>(count));
    for (size_t i = 0; i < count; ++i) {
      const int64_t every = request_.stream && request_.partial_images > 0
                                ? std::max<int64_t>(1, requests[i].steps / (request_.partial_images + 1))
                                : 0;
      made_[i].index = static_cast<int64_t>(i);
      made_[i].seed = static_cast<int64_t>(requests[i].seeds.front());
      auto ticket =
          model_.engine().submit(std::move(requests[i]), std::make_shared<Sink>(shared_from_this(), i), every);
      if (!ticket) return fail(api_error(ticket.error()));
      const std::lock_guard lock(mutex_);
      if (over_) return;
      tickets_.push_back(*std::move(ticket));
    }
    reply_->on_disconnect([weak = weak_from_this()] {
      if (const auto job = weak.lock()) job->leave();
    });
  }

 protected:
  virtual std::string whole_answer() { return images_json(head_, made_); }

  std::vector<MadeImage> made_;

 private:
  class Sink final : public diffusion::PictureSink {
   public:
    Sink(std::shared_ptr<PictureJob> job, size_t index) : job_(std::move(job)), index_(index) {}
    void progress(const diffusion::Progress& p) override { job_->progress(index_, p); }
    void preview(std::vector<image::Image> pictures, int64_t) override { job_->preview(index_, std::move(pictures)); }
    void done(diffusion::Pictures pictures) override { job_->done(index_, std::move(pictures)); }
    void failed(const Error& error) override { job_->fail(api_error(error)); }

   private:
    const std::shared_ptr<PictureJob> job_;
    const size_t index_;
  };

  void progress(size_t index, const diffusion::Progress& p) {
    (p.computed ? model_.metrics().computed_steps : model_.metrics().cached_steps).add();
    if (!request_.stream) return;
    const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    const std::lock_guard lock(mutex_);
    send(progress_event(head_, {static_cast<int64_t>(index), p.step, p.steps, p.computed, seconds}));
  }

  // Encoding takes long for the engine's thread.
  void preview(size_t index, std::vector<image::Image> pictures) {
    const auto shown = std::make_shared<std::vector<image::Image>>(std::move(pictures));
    workers_.post([job = shared_from_this(), index, shown] {
      const auto file = job->encoded(shown->front());
      const std::lock_guard lock(job->mutex_);
      int64_t& shown_before = job->previews_[index];
      if (!file || !job->made_[index].file.empty() || shown_before >= job->request_.partial_images) return;
      job->send(partial_image_event(job->head_, static_cast<int64_t>(index), shown_before++, *file));
    });
  }

  void done(size_t index, diffusion::Pictures pictures) {
    const auto all = std::make_shared<diffusion::Pictures>(std::move(pictures));
    model_.metrics().latency.observe(std::chrono::duration<double>(Clock::now() - began_).count());
    if (!workers_.post([job = shared_from_this(), index, all] { job->finish(index, *all); }))
      fail(ApiError{503, "too many requests are waiting: try again later", {}, {}});
  }

  void finish(size_t index, const diffusion::Pictures& pictures) {
    auto file = encoded(pictures.pictures.front());
    if (!file) return fail(api_error(file.error()));
    const std::lock_guard lock(mutex_);
    if (over_) return;
    MadeImage& made = made_[index];
    made.file = *std::move(file);
    made.seconds = pictures.seconds;
    if (!pictures.cache.stacks.empty())
      made.cache = CacheReport{pictures.cache.tag(), pictures.cache.stacks.front().main.trace};
    if (request_.stream) send(completed_event(head_, made));
    if (over_ || --left_ > 0) return;
    over_ = true;
    if (request_.stream)
      stream_->end();
    else
      reply_->json(200, whole_answer());
  }

  Result<std::string> encoded(const image::Image& picture) const {
    const image::Metadata about{{"prompt", request_.prompt}};
    return image::encode(picture, format_of(head_.output_format), about,
                         static_cast<int>(std::max<int64_t>(1, request_.output_compression.value_or(95))));
  }

  void send(const std::string& event) {
    if (over_) return;
    if (!stream_) stream_ = reply_->events();
    if (stream_->write(event) == Stream::Push::kFull)
      close(ApiError{503, "the client reads more slowly than the pictures come", {}, {}});
  }

  void fail(const ApiError& error) {
    const std::lock_guard lock(mutex_);
    if (!over_) close(error);
  }
  void close(const ApiError& error) {
    over_ = true;
    tickets_.clear();
    if (stream_)
      stream_->end(image_error_event(error));
    else
      reply_->error(error);
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
    model_.metrics().aborted.add(static_cast<double>(left_));
    tickets_.clear();
  }

  const ImageRequest request_;
  const ImageAnswer head_;
  const PictureModel& model_;
  Workers& workers_;
  const std::shared_ptr<Reply> reply_;
  const Clock::time_point began_ = Clock::now();
  std::mutex mutex_;
  std::vector<diffusion::Engine::Ticket> tickets_;
  std::optional<Stream> stream_;
  std::vector<int64_t> previews_;  // sent so far, of each picture
  size_t left_ = 0;
  bool over_ = false;
};

// cache-dit's form of the answer.
class NativePictureJob final : public PictureJob {
 public:
  NativePictureJob(const NativeImageRequest& request, ImageAnswer head, const PictureModel& model, Workers& workers,
                   std::shared_ptr<Reply> reply)
      : PictureJob(request.picture, std::move(head), model, workers, std::move(reply)), stats_(request.include_stats) {}

 private:
  std::string whole_answer() override { return native_images_json({made_, began_, unix_now(), stats_, {}}); }
  const bool stats_;
  const double began_ = unix_now();
};

ImageAnswer head_for(const ImageRequest& request, ImageAnswer::Route route, const diffusion::Request& first,
                     const PictureModel& model) {
  const diffusion::Pipeline& pipe = model.engine().pipeline();
  const auto size = pipe.extent(first).size;
  const int64_t scale = pipe.parts().autoencoder->space().scale;
  return {route, unix_seconds(), request.output_format, {size.width * scale, size.height * scale}};
}

}  // namespace

void make_pictures(const ImageRequest& request, ImageAnswer::Route route, const PictureModel& model, Workers& workers,
                   std::shared_ptr<Reply> reply) {
  auto requests = model.requests_for(request);
  if (!requests) return reply->error(requests.error());
  const ImageAnswer head = head_for(request, route, requests->front(), model);
  std::make_shared<PictureJob>(request, head, model, workers, std::move(reply))->start(*std::move(requests));
}

void make_native_pictures(const NativeImageRequest& request, const PictureModel& model, Workers& workers,
                          std::shared_ptr<Reply> reply) {
  auto requests = model.requests_for(request.picture);
  if (!requests) return reply->error(requests.error());
  const ImageAnswer head = head_for(request.picture, ImageAnswer::Route::kGeneration, requests->front(), model);
  std::make_shared<NativePictureJob>(request, head, model, workers, std::move(reply))->start(*std::move(requests));
}

}  // namespace cairn::serve
