// Capture and replay (aclmdlRI): a captured graph is a list of closures in the order of the calls.
#include <algorithm>
#include <cstdio>
#include <map>

#include "runtime_state.h"

namespace fake {
namespace {
struct Captures {
  std::mutex mutex;
  std::map<uint32_t, Graph*> active;
  std::atomic<int> count{0};
};
Captures& captures() {
  static auto* all = new Captures;
  return *all;
}
std::atomic<uint32_t> next_graph{1};
// What aclmdlRICaptureThreadExchangeMode sets.
thread_local aclmdlRICaptureMode thread_mode = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;

// CANN, aclmdlRICaptureThreadExchangeMode: whom a capture forbids unsafe functions, and who has opted out.
bool forbids(const Graph& graph) {
  const bool mine = graph.thread == std::this_thread::get_id();
  switch (graph.mode) {
    case ACL_MODEL_RI_CAPTURE_MODE_GLOBAL:
      return mine ? thread_mode != ACL_MODEL_RI_CAPTURE_MODE_RELAXED : thread_mode == ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;
    case ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL:
      return mine && thread_mode != ACL_MODEL_RI_CAPTURE_MODE_RELAXED;
    default:
      return false;
  }
}

// What is wrong with a capture that ends: a reason and its code.
std::pair<const char*, aclError> fault_of(const Graph& graph) {
  if (graph.invalid) return {"a forbidden call was made in it", ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED};
  for (const Stream* s : graph.members) {
    if (s->recording) return {"a task group is still open", ACL_ERROR_STREAM_TASK_GROUP_STATUS};
    if (s != graph.origin && s->joined <= s->captured)  // joined counts from one
      return {"a stream that was forked is not joined again", ACL_ERROR_RT_STREAM_UNJOINED};
  }
  return {nullptr, ACL_SUCCESS};
}

struct Replay {
  std::vector<std::shared_ptr<Node>> nodes;  // copies: the graph may be destroyed meanwhile
  std::vector<std::shared_ptr<Group>> groups;
  uint32_t id;

  void operator()() const {
    try {
      for (const auto& node : nodes) node->run();
    } catch (const Violation& e) {
      // On the device this is a hang: the graph waits for the event that follows the update of its task groups.
      const bool stale = std::any_of(groups.begin(), groups.end(), [](const auto& g) { return g->updates == g->seen; });
      if (!stale || e.code != ACL_ERROR_RT_WAIT_TIMEOUT) throw;
      throw Violation("a graph with task groups is updated for every replay", ACL_ERROR_RT_WAIT_TIMEOUT,
                      "graph " + std::to_string(id) + " waits for " + e.what() + ", and its groups were not updated");
    }
    for (const auto& group : groups) group->seen = group->updates.load();
  }
};
}  // namespace

void Node::set(Task task) {
  auto made = std::make_shared<const Task>(std::move(task));
  std::lock_guard lock(mutex_);
  task_ = std::move(made);
}
void Node::run() {
  std::shared_ptr<const Task> task;
  {
    std::lock_guard lock(mutex_);
    task = task_;
  }
  inject(name);
  (*task)();
}

bool capturing() { return captures().count > 0; }
Graph* live_capture(uint32_t id) {
  std::lock_guard lock(captures().mutex);
  auto it = captures().active.find(id);
  return it == captures().active.end() ? nullptr : it->second;
}
aclError forbidden_in_capture(const char* call, aclError code) {
  if (!capturing()) return ACL_SUCCESS;
  bool forbidden = false;
  {
    std::lock_guard lock(captures().mutex);
    for (const auto& [id, graph] : captures().active) {
      if (!forbids(*graph)) continue;
      graph->invalid = true;
      forbidden = true;
    }
  }
  return forbidden ? broken("a capture is not synchronised", code, "%s during a capture", call) : ACL_SUCCESS;
}
aclError add_node(Stream* stream, const char* name, Task task, Group* group) {
  Graph* graph = stream->capture;
  if (graph->invalid)
    return fail(ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED, "%s in a capture that is invalid already", name);
  auto node = std::make_shared<Node>(name, std::move(task));
  graph->nodes.push_back(node);
  ++stream->captured;
  if (group) group->nodes.push_back(std::move(node));
  return ACL_SUCCESS;
}
}  // namespace fake

using namespace fake;

extern "C" {
aclError aclmdlRICaptureBegin(aclrtStream s, aclmdlRICaptureMode mode) {
  if (auto error = refuse()) return error;
  // The products that its documentation names are Atlas A2 and A3.
  if (is_310p()) return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclmdlRICaptureBegin: not on Ascend310P");
  auto* stream = as_stream(s);
  // CANN, "Building a Model Running Instance Based on the Capture Mode"; torch_npu says the same of its own default.
  if (stream->is_default)
    return broken("the default stream is not captured", ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, "aclmdlRICaptureBegin");
  if (stream->capture) return fail(ACL_ERROR_RT_STREAM_CAPTURED, "stream %d is already capturing", stream->id);
  // aclmdlRICaptureBegin: a captured graph holds streams of the device, one at least for each that it captures.
  if (auto error = take_streams(stream->device, 1)) return error;
  auto* graph = new Graph{next_graph++, mode, stream};
  graph->members.push_back(stream);
  stream->capture = graph;
  stream->captured = stream->joined = 0;
  std::lock_guard lock(captures().mutex);
  captures().active[graph->id] = graph;
  ++captures().count;
  return ACL_SUCCESS;
}
aclError aclmdlRICaptureGetInfo(aclrtStream s, aclmdlRICaptureStatus* status, aclmdlRI* model) {
  Graph* graph = as_stream(s)->capture;
  *status = !graph           ? ACL_MODEL_RI_CAPTURE_STATUS_NONE
            : graph->invalid ? ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED
                             : ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE;
  if (model) *model = graph;
  return ACL_SUCCESS;
}
aclError aclmdlRIGetId(aclmdlRI model, uint32_t* id) { return *id = static_cast<Graph*>(model)->id, ACL_SUCCESS; }
aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode* mode) {
  return std::swap(*mode, thread_mode), ACL_SUCCESS;
}
aclError aclmdlRICaptureEnd(aclrtStream s, aclmdlRI* model) {
  *model = nullptr;
  Graph* graph = as_stream(s)->capture;
  if (!graph) return fail(ACL_ERROR_RT_STREAM_NOT_CAPTURED, "the stream is not capturing");
  if (graph->origin != s) return fail(ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, "the capture began on another stream");
  // CANN, aclmdlRICaptureEnd: unless RELAXED, by the thread that began it.
  if (graph->mode != ACL_MODEL_RI_CAPTURE_MODE_RELAXED && graph->thread != std::this_thread::get_id())
    return broken("a capture ends in its thread", ACL_ERROR_RT_STREAM_CAPTURE_WRONG_THREAD, "aclmdlRICaptureEnd");
  {
    std::lock_guard lock(captures().mutex);
    captures().active.erase(graph->id);
    --captures().count;
  }
  const auto [reason, code] = fault_of(*graph);
  for (auto* member : graph->members) {
    member->capture = nullptr;
    member->recording = nullptr;
  }
  *model = graph;
  if (!code) return ACL_SUCCESS;
  aclmdlRIDestroy(*model);
  *model = nullptr;
  return fail(code, "the capture has failed: %s", reason);
}
aclError aclmdlRIExecuteAsync(aclmdlRI model, aclrtStream s) {
  auto* graph = static_cast<Graph*>(model);
  return enqueue(s, "graph", Replay{graph->nodes, graph->groups, graph->id});
}
aclError aclmdlRIDestroy(aclmdlRI model) {
  auto* graph = static_cast<Graph*>(model);
  give_streams(graph->device, static_cast<int64_t>(graph->members.size()));
  return delete graph, ACL_SUCCESS;
}
aclError aclmdlRIDebugJsonPrint(aclmdlRI model, const char*, uint32_t) {
  for (const auto& node : static_cast<Graph*>(model)->nodes) std::fprintf(stderr, "[graph] %s\n", node->name.c_str());
  return ACL_SUCCESS;
}

aclError aclmdlRICaptureTaskGrpBegin(aclrtStream s) {
  auto* stream = as_stream(s);
  Graph* graph = stream->capture;
  if (!graph) return fail(ACL_ERROR_RT_STREAM_NOT_CAPTURED, "a task group outside a capture");
  if (stream->recording) return fail(ACL_ERROR_STREAM_TASK_GROUP_STATUS, "a task group inside a task group");
  graph->groups.push_back(std::make_shared<Group>());
  stream->recording = graph->groups.back().get();
  return ACL_SUCCESS;
}
aclError aclmdlRICaptureTaskGrpEnd(aclrtStream s, aclrtTaskGrp* handle) {
  auto* stream = as_stream(s);
  *handle = std::exchange(stream->recording, nullptr);
  return *handle ? ACL_SUCCESS : fail(ACL_ERROR_STREAM_TASK_GROUP_STATUS, "there is no task group to end");
}
aclError aclmdlRICaptureTaskUpdateBegin(aclrtStream s, aclrtTaskGrp handle) {
  if (auto error = refuse()) return error;
  auto* stream = as_stream(s);
  if (stream->capture)  // CANN, aclmdlRICaptureTaskUpdateBegin
    return broken("a capturing stream updates no group", ACL_ERROR_RT_STREAM_CAPTURED,
                  "aclmdlRICaptureTaskUpdateBegin");
  if (stream->updating || !handle) return fail(ACL_ERROR_STREAM_TASK_GROUP_STATUS, "an update inside an update");
  stream->updating = static_cast<Group*>(handle);
  stream->next_update = 0;
  return ACL_SUCCESS;
}
aclError aclmdlRICaptureTaskUpdateEnd(aclrtStream s) {
  auto* stream = as_stream(s);
  auto* group = std::exchange(stream->updating, nullptr);
  if (!group) return fail(ACL_ERROR_STREAM_TASK_GROUP_STATUS, "there is no update to end");
  // CANN, aclmdlRICaptureTaskUpdateBegin: as many tasks as the group, of the same kinds.
  if (stream->next_update != group->nodes.size())
    return broken("an update has its group's tasks", ACL_ERROR_RT_MODEL_UPDATE_FAILED, "%zu tasks instead of %zu",
                  stream->next_update, group->nodes.size());
  return stream->push([held = group->shared_from_this()] { ++held->updates; }), ACL_SUCCESS;
}
}  // extern "C"
