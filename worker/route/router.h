// SPDX-License-Identifier: Apache-2.0
//
// Which site and which route a request belongs to. Built once for each configuration, in every worker, and kept beside it: borrows
// the Config, which must outlive it. Sites match by the most specific host name (exact, then the longest wildcard, then "*") among
// those that listen on the address where the client came in; routes by the first match in file order.
//
// The steady state allocates nothing: globs are compared in place, expressions are compiled here. Single-threaded (one scratch
// string).
#pragma once

#include "common/config/config.h"
#include "common/http/fields.h"

#include <re2/re2.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ladle::worker {

/// What a route looks at. Views of the request; nothing is kept.
struct RouteQuery {
    std::string_view host;  ///< lower case, without port
    std::string_view path;  ///< normalised (http::normalise_path)
    std::string_view query; ///< as received, without '?'
    std::string_view method;
    const http::Fields& fields;
};

class Router {
public:
    static constexpr std::uint32_t kNoListen = UINT32_MAX;

    explicit Router(const config::Config& config);
    Router(const Router&) = delete;
    Router& operator=(const Router&) = delete;

    /// The index in Config::listens of the Listen that has this address (config::BindAddress::text); kNoListen if none has.
    std::uint32_t listen_index(std::string_view bind_text) const;

    /// The site for a host (lower case, without port; may be empty) on a listen; null = 404. A dot at the end is ignored.
    const config::Site* find_site(std::uint32_t listen, std::string_view host) const;

    /// The first route of the site (one of this Router's Config) that matches; null = 404.
    const config::Route* find_route(const config::Site& site, const RouteQuery& query) const;

private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
    };
    /// Keys are views of the Config.
    using HostMap = std::unordered_map<std::string_view, const config::Site*, Hash, std::equal_to<>>;

    /// The sites of one Listen.
    struct Hosts {
        HostMap exact;
        HostMap wildcards; ///< by what follows "*."
        const config::Site* rest = nullptr;
    };

    enum class PathKind : std::uint8_t { any, exact, prefix, glob };

    struct FieldTest {
        http::FieldName id;
        const config::NamedMatch* match;
    };

    struct CompiledRoute {
        const config::Route* route;
        PathKind path_kind;
        std::string_view path; ///< of prefix: without its '*'
        std::unique_ptr<RE2> regex;
        std::vector<FieldTest> fields;
    };

    static CompiledRoute compile(const config::Route& route);
    static bool matches_path(const CompiledRoute& route, std::string_view path);
    static bool matches_fields(const CompiledRoute& route, const http::Fields& fields);
    bool matches_query(const config::NamedMatch& match, std::string_view query) const;
    bool matches(const CompiledRoute& route, const RouteQuery& query) const;

    const config::Config& config_;
    std::unordered_map<std::string_view, std::uint32_t, Hash, std::equal_to<>> listens_;
    std::vector<Hosts> hosts_;                       ///< by index of the Listen
    std::vector<std::vector<CompiledRoute>> routes_; ///< by index of the site
    mutable std::string decoded_;                    ///< scratch for one query argument
};

} // namespace ladle::worker
