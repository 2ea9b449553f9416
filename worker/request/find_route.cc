// SPDX-License-Identifier: Apache-2.0
#include "worker/request/find_route.h"

namespace ladle::worker {

std::optional<Answer> find_route(Request& request)
{
    request.site = request.live->router.find_site(request.listen, request.host);
    if (request.site == nullptr) {
        return Answer{404, Reason::no_site};
    }
    const RouteQuery query{request.host, request.path, request.target.query, request.head.method_text(), request.head.fields};
    request.route = request.live->router.find_route(*request.site, query);
    if (request.route == nullptr) {
        return Answer{404, Reason::no_route};
    }
    return std::nullopt;
}

} // namespace ladle::worker
