// What the picture routes do with a request that was parsed. They run on worker threads; what goes wrong becomes the
// reply.
#pragma once
#include <memory>

#include "serve/http/reply.h"
#include "serve/picture_model.h"
#include "serve/workers.h"

namespace cairn::serve {

// `workers` encode the pictures.
void make_pictures(const ImageRequest& request, ImageAnswer::Route route, const PictureModel& model, Workers& workers,
                   std::shared_ptr<Reply> reply);
void make_native_pictures(const NativeImageRequest& request, const PictureModel& model, Workers& workers,
                          std::shared_ptr<Reply> reply);

}  // namespace cairn::serve
