// SPDX-License-Identifier: Apache-2.0
#include "worker/request/copy_request.h"

#include <tuple>

namespace ladle::worker {

void copy_request(const Request& from, Request& to)
{
    const config::RequestLimits& limits = from.live->config->request_limits;
    to.protocol = from.protocol;
    to.listen = from.listen;
    to.head_block = from.head_block;
    std::ignore = to.head.parse(from.head.text(), {limits.head_bytes, limits.uri_bytes}); // it was good the first time
    for (std::size_t i = 0; i < to.head.fields.size(); ++i) {
        // What was left out since, and where a cookie was taken out of a value.
        to.head.fields.begin()[i].is_dropped = from.head.fields.begin()[i].is_dropped;
        to.head.fields.begin()[i].value_length = from.head.fields.begin()[i].value_length;
    }
    to.target = from.target;
    to.authority = from.authority;
    to.host = from.host;
    to.path = from.path;
    to.is_trusted_peer = from.is_trusted_peer;
    to.client_address = from.client_address;
    to.is_encrypted = from.is_encrypted;
    to.scheme = from.scheme;
    to.forwarded_host = from.forwarded_host;
    to.id = from.id;
    to.client_bucket = from.client_bucket;
    to.site = from.site;
    to.route = from.route;
    to.sent_target = from.sent_target;
    to.upstream = from.upstream;
    to.client.peer_text = from.client.peer_text;
}

} // namespace ladle::worker
