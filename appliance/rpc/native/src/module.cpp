// What Python sees; described in appliance_native.pyi.
#include <grpc/grpc.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bunch.h"
#include "call.h"
#include "io.h"
#include "server.h"
#include "together.h"

namespace nb = nanobind;
using namespace appliance;

namespace {

using Arguments = std::vector<std::pair<std::string, int>>;

// Up to here a request becomes `bytes`; larger ones stay where they are.
constexpr size_t kLongestBytes = 64 * 1024;

// A large request: Python's buffers of it read where gRPC put it.
struct Payload {
  Slice bytes;
};

int get_payload_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto* payload = nb::inst_ptr<Payload>(self);
  return PyBuffer_FillInfo(view, self, const_cast<uint8_t*>(payload->bytes.data()),
                           static_cast<Py_ssize_t>(payload->bytes.size()), /*readonly=*/1, flags);
}

PyType_Slot payload_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_payload_buffer)}, {0, nullptr}};

nb::object to_python(Slice payload) {
  if (payload.size() <= kLongestBytes) {
    return nb::bytes(payload.data(), payload.size());
  }
  nb::object whole = nb::cast(Payload{std::move(payload)});
  return nb::steal(PyMemoryView_FromObject(whole.ptr()));
}

// Append what Python is to know of an event.
void append(nb::list& all, Event& event) {
  if (event.kind >= 0 && event.call->expired()) {  // while it waited here: whoever still waits comes first
    event.call->finish(GRPC_STATUS_DEADLINE_EXCEEDED, "Deadline Exceeded");
    return;
  }
  nb::object subject = event.call != nullptr ? nb::cast(std::move(event.call)) : nb::cast(std::move(event.server));
  all.append(nb::make_tuple(event.kind, std::move(subject), to_python(std::move(event.payload))));
}

nb::list take(Io& io) {
  std::vector<Event> events = io.inbox().take();
  io.sent->release();  // after it: what is put from here on wakes the loop, if this found nothing
  nb::list all;
  for (Event& event : events) {
    append(all, event);
  }
  return all;
}

template <void (Call::*send)(Message)>
void send_parts(Call& call, nb::handle parts) {
  Message message = message_of_parts(parts.ptr(), call.server().io().sent);
  nb::gil_scoped_release released;
  (call.*send)(std::move(message));
}

std::string text(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::tuple certificate_names(const Call& call) {
  nb::list names;
  for (const std::string& name : call.certificate_names()) {
    names.append(nb::steal(PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "replace")));
  }
  return nb::tuple(names);
}

void end_threads(Io& io) {
  {
    nb::gil_scoped_release released;
    io.close();
  }
  io.sent->release();  // nobody takes any more
}

nb::dict metadata(const Call& call) {
  nb::dict headers;
  for (size_t i = 0; i < call.metadata().count; ++i) {
    const std::string_view name = text_of(call.metadata().metadata[i].key);
    const std::string_view value = text_of(call.metadata().metadata[i].value);
    const bool binary = grpc_is_binary_header(call.metadata().metadata[i].key) != 0;
    const auto size = static_cast<Py_ssize_t>(value.size());
    // A client may send any bytes for a name, and gRPC lets them through.
    headers[nb::steal(PyUnicode_DecodeLatin1(name.data(), static_cast<Py_ssize_t>(name.size()), nullptr))] =
        binary ? nb::steal(PyBytes_FromStringAndSize(value.data(), size))
               : nb::steal(PyUnicode_DecodeLatin1(value.data(), size, nullptr));
  }
  return headers;
}

}  // namespace

NB_MODULE(appliance_native, m) {
  nb::set_leak_warnings(false);  // calls that nobody awaits any more may outlive the interpreter
  m.attr("CANCELLED") = static_cast<int>(kCancelled);
  m.attr("MESSAGE") = static_cast<int>(kMessage);
  m.attr("NO_MESSAGE") = static_cast<int>(kNoMessage);
  m.attr("WRITTEN") = static_cast<int>(kWritten);
  m.attr("STOPPED") = static_cast<int>(kStopped);
  m.def("begin_bunch", &Bunch::begin);
  m.def("end_bunch", &Bunch::end, nb::call_guard<nb::gil_scoped_release>());
  m.def("send_late", [] {
    if (Bunch::is_late()) {
      nb::gil_scoped_release released;
      Bunch::send_now();
    }
  });
  m.attr("BEGINS_TOGETHER") = can_begin_together();
  m.attr("GRPC_CORE_VERSION") = grpc_version_string();

  nb::class_<Payload>(m, "Payload", nb::type_slots(payload_slots));

  const auto without_lock = nb::call_guard<nb::gil_scoped_release>();

  nb::class_<Call>(m, "Call")
      .def_prop_ro("peer", &Call::peer)
      .def_prop_ro("certificate_names", &certificate_names)
      .def_prop_ro("deadline_s", &Call::deadline_s)
      .def_prop_ro("metadata", &metadata)
      .def("watch", &Call::watch, without_lock)
      .def("read", &Call::read, without_lock)
      .def("write", &send_parts<&Call::write>)
      .def("reply", &send_parts<&Call::reply>)
      .def("finish", &Call::finish, without_lock);

  nb::class_<Io>(m, "Io")
      .def(nb::new_([](int threads) { return std::make_shared<Io>(threads); }), nb::kw_only(), nb::arg("threads"))
      .def("take", &take)
      .def("fileno", [](Io& io) { return io.inbox().descriptor(); })
      .def("close", &end_threads);

  nb::class_<Server>(m, "Server")
      .def(nb::new_([](std::shared_ptr<Io> io, const Arguments& arguments, int max_calls, size_t memory_bytes) {
             return std::make_shared<Server>(std::move(io), arguments, max_calls, memory_bytes);
           }),
           nb::arg("io"), nb::arg("arguments"), nb::kw_only(), nb::arg("max_calls"), nb::arg("memory_bytes"))
      .def("add_method", &Server::add_method, nb::arg("path"), nb::arg("number"), nb::kw_only(),
           nb::arg("reads_itself"))
      .def("bind",
           [](Server& server, const std::string& address, nb::bytes chain, nb::bytes key, nb::bytes authorities) {
             return server.bind(address, Tls{text(chain), text(key), text(authorities)});
           },
           nb::arg("address"), nb::arg("certificate_chain") = nb::bytes(""), nb::arg("key") = nb::bytes(""),
           nb::arg("client_authorities") = nb::bytes(""))
      .def("start", &Server::start, without_lock)
      .def("stop", &Server::stop, without_lock)
      .def("cancel_calls", &Server::cancel_calls, without_lock);
}
