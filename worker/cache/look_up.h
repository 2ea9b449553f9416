// SPDX-License-Identifier: Apache-2.0
//
// The step "look up": whether the cache has what a request asks for, and if not, how a server is to be asked (RFC 9111 §4).
#pragma once

#include "common/http/cache_key.h"
#include "common/loop/task.h"
#include "worker/cache/visit.h"
#include "worker/request/request.h"

#include <optional>

namespace ladle::worker {

/// What the request's key and URL are made of.
http::KeyTarget target_of(const Request& request) noexcept;

/// Makes request.cache, once, for a route that caches. Decides by the request alone whether the cache has a say in it.
void begin_visit(Request& request);

/// Whether the range asked for is "bytes=0-", to which the whole is the best answer: it is what players ask for first.
bool wants_all(const CacheVisit& visit) noexcept;

/// Names the variant that the request asks for, by the vary record's names and mark in request.cache.
void name_variant(Request& request);

/// Looks at what is there now. Claims the fetch where there is nothing and the response may be shared; repeat after waiting.
Found look_up(Request& request);

/// After Found::wait: waits until the other's fetch has something to show, or for as long as [cache] wait allows. An answer = give up.
loop::Task<std::optional<Answer>> wait_for_others(Request& request);

} // namespace ladle::worker
