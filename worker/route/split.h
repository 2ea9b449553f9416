// SPDX-License-Identifier: Apache-2.0
//
// Which upstream of a route's `split` a request gets. Nothing is kept: a hash of the client's address (of a cookie or a header,
// where `split_by` names one that the request has) is a point on a line that the shares divide in file order. So a client stays
// with its upstream in every worker, after a reload, a restart and an upgrade, and in every route with the same shares; and where
// the last share grows, those that were in it stay in it. Pure.
#pragma once

#include "common/config/config.h"
#include "common/http/fields.h"

#include <cstdint>
#include <string_view>

namespace ladle::worker {

/// The index of the upstream. Precondition: the route has a split.
std::uint32_t choose_share(const config::Route& route, std::string_view client, const http::Fields& fields);

} // namespace ladle::worker
