// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/second_request.h"

#include "worker/request/copy_request.h"
#include "worker/upstream/announce.h"

namespace ladle::worker {

namespace {

void copy_peer(const Request& from, Request& to, bool is_announced)
{
    to.client.peer = from.client.peer;
    if (is_announced) {
        to.client.destination = destination_of(from.client);
    }
    if (from.client.encryption != nullptr) {
        to.subject = from.client.encryption->facts().subject;
    }
}

} // namespace

SecondRequest::SecondRequest(const Request& cause, RequestKind kind, std::uint32_t upstream)
    : nobody(cause.parts.loop, cause.parts.row), request(cause.parts, nobody, cause.live, kind)
{
    copy_request(cause, request);
    request.upstream = upstream;
    request.framing = cause.framing;
    request.is_grpc = cause.is_grpc;
    request.hides_conditions = cause.hides_conditions;
    request.added_fields = cause.added_fields;
    request.trailers = cause.trailers;
    request.asks_as_cache = kind == RequestKind::hedge && cause.cache.has_value();
    if (cause.body) {
        const bool is_counted = kind == RequestKind::hedge; // [mirror] bounds the copies
        request.body.emplace(cause.parts.spool, is_counted ? std::optional(cause.client_bucket) : std::nullopt, nobody.wake,
                             *cause.body);
    }
    copy_peer(cause, request, cause.live->config->upstreams[upstream].proxy_protocol.has_value());
}

} // namespace ladle::worker
