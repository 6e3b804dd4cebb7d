// The fake runtime alone: threads that capture, replay, update and destroy at the same time, and what is left of it.
#include <acl/acl.h>
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "bed.h"

namespace fake {
namespace {
constexpr size_t kBytes = 4096;

void good(aclError error) { ASSERT_EQ(error, ACL_SUCCESS) << aclGetRecentErrMsg(); }

// A graph over two streams that waits for its update, fills one buffer, copies it to a second and that to the host.
class Round {
 public:
  explicit Round(int number) : number_(number) {
    for (auto* stream : {&main_, &side_, &updater_}) good(aclrtCreateStream(stream));
    for (auto* event : {&fork_, &join_}) good(aclrtCreateEventExWithFlag(event, ACL_EVENT_SYNC));
    for (auto* memory : {&from_, &to_}) good(aclrtMalloc(memory, kBytes, ACL_MEM_MALLOC_HUGE_FIRST));
    good(aclrtMalloc(&word_, 32, ACL_MEM_MALLOC_HUGE_FIRST));
    good(aclrtMallocHost(&host_, kBytes));
    good(aclrtMemset(word_, 32, 0, 32));
  }
  ~Round() {
    good(aclmdlRIDestroy(model_));
    for (auto* event : {fork_, join_}) good(aclrtDestroyEvent(event));
    for (auto* stream : {main_, side_, updater_}) good(aclrtDestroyStream(stream));
    for (auto* memory : {from_, to_, word_}) good(aclrtFree(memory));
    good(aclrtFreeHost(host_));
  }
  void capture() {
    good(aclmdlRICaptureBegin(main_, ACL_MODEL_RI_CAPTURE_MODE_RELAXED));
    good(aclrtValueWait(word_, 1, ACL_STREAM_WAIT_VALUE_EQ, main_));
    good(aclrtValueWrite(word_, 0, 0, main_));
    good(aclrtRecordEvent(fork_, main_));
    good(aclrtStreamWaitEvent(side_, fork_));
    good(aclrtMemsetAsync(from_, kBytes, number_, kBytes, side_));
    good(aclrtRecordEvent(join_, side_));
    good(aclrtStreamWaitEvent(main_, join_));
    good(aclmdlRICaptureTaskGrpBegin(main_));
    copy(main_);
    good(aclmdlRICaptureTaskGrpEnd(main_, &group_));
    good(aclrtMemcpyAsync(host_, kBytes, to_, kBytes, ACL_MEMCPY_DEVICE_TO_HOST, main_));
    good(aclmdlRICaptureEnd(main_, &model_));
  }
  char replay() {
    good(aclmdlRIExecuteAsync(model_, side_));
    good(aclmdlRICaptureTaskUpdateBegin(updater_, group_));
    copy(updater_);
    good(aclmdlRICaptureTaskUpdateEnd(updater_));
    good(aclrtValueWrite(word_, 1, 0, updater_));
    good(aclrtRecordEvent(join_, side_));
    good(aclrtStreamWaitEvent(updater_, join_));
    good(aclrtSynchronizeStream(updater_));
    return static_cast<char*>(host_)[kBytes - 1];
  }

 private:
  void copy(aclrtStream stream) {
    good(aclrtMemcpyAsync(to_, kBytes, from_, kBytes, ACL_MEMCPY_DEVICE_TO_DEVICE, stream));
  }
  int number_;
  aclrtStream main_ = nullptr, side_ = nullptr, updater_ = nullptr;
  aclrtEvent fork_ = nullptr, join_ = nullptr;
  void *from_ = nullptr, *to_ = nullptr, *word_ = nullptr, *host_ = nullptr;
  aclmdlRI model_ = nullptr;
  aclrtTaskGrp group_ = nullptr;
};

TEST(Runtime, LeavesNothingAndBreaksNoRuleInManyThreads) {
  const std::array<const char*, 4> kinds = {"rules", "events", "streams", "used_bytes"};
  std::array<int64_t, 4> before;
  for (size_t i = 0; i < kinds.size(); ++i) before[i] = get(kinds[i]);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([thread] {
      good(aclrtSetDevice(thread % 2));
      for (int number = 1; number <= 10; ++number) {
        Round round(number);
        round.capture();
        for (int i = 0; i < 5; ++i) EXPECT_EQ(round.replay(), number);
        good(aclrtSynchronizeDevice());
      }
    });
  for (auto& thread : threads) thread.join();
  for (size_t i = 0; i < kinds.size(); ++i) EXPECT_EQ(get(kinds[i]), before[i]) << kinds[i];
}
}  // namespace
}  // namespace fake
