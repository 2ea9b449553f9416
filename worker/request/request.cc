// SPDX-License-Identifier: Apache-2.0
#include "worker/request/request.h"

#include "worker/cache/large.h"

namespace ladle::worker {

Request::Request(WorkerParts& worker_parts, ClientStream& stream, std::shared_ptr<LiveConfig> live_config, RequestKind request_kind)
    : parts(worker_parts), client(stream), live(std::move(live_config)), kind(request_kind), protocol(stream.protocol),
      head(live->config->request_limits.header_count), response(2 * live->config->request_limits.header_count)
{
    times.begun = loop::clock_now();
    parts.row.add(shm::Metric::requests_in_flight, kind == RequestKind::client ? 1 : 0);
}

Request::~Request()
{
    if (cache) {
        leave_large(*this);
    }
    parts.row.subtract(shm::Metric::requests_in_flight, kind == RequestKind::client ? 1 : 0);
}

std::string_view protocol_version(const Request& request) noexcept
{
    if (request.protocol == Protocol::http_2) {
        return "2.0";
    }
    return request.head.version == http::Version::http_1_1 ? "1.1" : "1.0";
}

} // namespace ladle::worker
