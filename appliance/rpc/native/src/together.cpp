#include "together.h"

#ifdef APPLIANCE_OWN_CORE
#include "src/core/lib/iomgr/exec_ctx.h"
#include "src/core/lib/surface/call.h"
#endif

namespace appliance {

#ifdef APPLIANCE_OWN_CORE

bool can_begin_together() { return true; }

void together(const std::function<void()>& begin) {
  grpc_core::ExecCtx does_it_at_its_end;
  begin();
}

grpc_call_error start_together(grpc_call* call, const grpc_op* operations, size_t count, void* tag) {
  return grpc_core::Call::FromC(call)->StartBatch(operations, count, tag, /*is_notify_tag_closure=*/false);
}

#else

bool can_begin_together() { return false; }

void together(const std::function<void()>& begin) { begin(); }

grpc_call_error start_together(grpc_call* call, const grpc_op* operations, size_t count, void* tag) {
  return grpc_call_start_batch(call, operations, count, tag, nullptr);
}

#endif

}  // namespace appliance
