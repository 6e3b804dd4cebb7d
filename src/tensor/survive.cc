#include "tensor/survive.h"

#include <new>
#include <stdexcept>

#include "tensor/tensor.h"

namespace cairn {

Result<void> survived(const std::function<void()>& f, const std::string& advice) {
  const auto exhausted = [&] { return failure(Code::kExhausted, "out of memory: " + advice); };
  try {
    return caught(f);
  } catch (const std::bad_alloc&) { return exhausted(); } catch (const std::exception& e) {
    if (const auto tensors = tensor_error(e))
      return tensors->out_of_memory ? exhausted() : failure(Code::kInternal, "tensor library: " + tensors->what);
    // Accelerators' libraries throw these from their queues, with many lines of advice.
    const std::string what = e.what();
    if (dynamic_cast<const std::runtime_error*>(&e))
      return failure(Code::kInternal, "tensor library: " + what.substr(0, what.find('\n')));
    return failure(Code::kInternal, "a defect of cairn, please report it: " + what);
  } catch (...) { return failure(Code::kInternal, "a defect of cairn, please report it"); }
}

}  // namespace cairn
