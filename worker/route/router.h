// SPDX-License-Identifier: Apache-2.0
//
// Which site and which route a request belongs to. Built once for each configuration, in every worker, and kept beside it: borrows
// the Config, which must outlive it. Sites match by the most specific host name (exact, then the longest wildcard, then "*") among
// those that listen on the address where the client came in; routes by the first match in file order.
//
// The steady state allocates nothing: globs are compared in place, expressions are compiled here. An expression costs a
// comparison where the path does not begin as it does; what is left is asked in groups, one pass of an automaton for each.
// Single-threaded (one scratch string).
#pragma once

#include "common/config/config.h"
#include "common/http/fields.h"
#include "worker/net/address.h"

#include <re2/re2.h>
#include <re2/set.h>

#include <cstdint>
#include <memory>
#include <optional>
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
    std::string_view scheme = "http";
    std::string_view client = {}; ///< its address; what is none is in no range and no country
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

    static constexpr std::uint32_t kNoGroup = UINT32_MAX;

    struct CompiledRoute {
        const config::Route* route;
        PathKind path_kind;
        bool has_more = false; ///< tests that few routes have: of match_more()
        std::string_view path; ///< of prefix: without its '*'
        std::string regex_begins; ///< what every path begins with that `regex` matches
        std::unique_ptr<RE2> regex;
        std::uint32_t group = kNoGroup; ///< of `regex`
        std::vector<FieldTest> fields;
    };

    /// The routes of one site, and their expressions in groups, in file order: a path that none of a group matches has that found
    /// out by one pass.
    struct SiteRoutes {
        std::vector<CompiledRoute> routes;
        std::vector<std::unique_ptr<RE2::Set>> groups;
        bool asks_for_client = false; ///< some route looks at the client's address
    };

    /// What is found out once for all routes that a request is compared with.
    struct Trial {
        const RouteQuery& query;
        std::optional<Address> client;
        std::optional<config::Country> country;
        std::uint32_t group = kNoGroup; ///< the one that was asked last
        bool group_may_match = false;
    };

    static CompiledRoute compile(const config::Route& route);
    static void make_groups(SiteRoutes& site);
    static bool matches_path(const CompiledRoute& route, std::string_view path);
    static bool matches_regex(const SiteRoutes& site, const CompiledRoute& route, Trial& trial);
    static bool matches_fields(const CompiledRoute& route, const http::Fields& fields);
    bool matches_query(const config::NamedMatch& match, std::string_view query) const;
    bool matches_more(const config::Match& match, Trial& trial) const;
    bool matches(const SiteRoutes& site, const CompiledRoute& route, Trial& trial) const;

    const config::Config& config_;
    std::unordered_map<std::string_view, std::uint32_t, Hash, std::equal_to<>> listens_;
    std::vector<Hosts> hosts_;                       ///< by index of the Listen
    std::vector<SiteRoutes> routes_;                 ///< by index of the site
    mutable std::string decoded_;                    ///< scratch for one query argument
};

/// What every text begins with that the expression matches as a whole; empty where that is not plain to see.
std::string literal_beginning(std::string_view expression);

} // namespace ladle::worker
