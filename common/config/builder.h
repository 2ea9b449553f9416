// SPDX-License-Identifier: Apache-2.0
//
// Makes the Config from a checked tree: fills in inheritance and defaults, resolves names, and finds what takes more than one key
// to see (dangling references, duplicates, routes that can never match). One Builder per load(), on its stack; its parts stand in
// build_server.cc and the other build_….cc beside it. Values that the checker marked bad count as absent, so that each mistake is
// reported once.
#pragma once

#include "common/config/certificate_check.h"
#include "common/config/config.h"
#include "common/config/file_source.h"
#include "common/config/node.h"
#include "common/config/server_changes.h"
#include "common/config/settings_table.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace ladle::config {

/// The tables in which a key is looked for, the most specific first: a route's, its site's, the file's. Borrows the tree.
class Inherited {
public:
    /// Null tables are skipped; at most three.
    explicit Inherited(std::initializer_list<const Node*> tables);

    /// The nearest good or unset value, or null.
    const Node* find(std::string_view key) const;
    /// The members of all tables, of each key the nearest that is good; without those that an "unset" removes.
    std::vector<const Node*> members() const;
    /// The tables of that key at each level; an "unset" hides the ones behind it.
    Inherited sub(std::string_view key) const;
    /// The value in the row's unit, or the row's default. A word counts as the default's number (0).
    std::uint64_t number(std::string_view schema, std::string_view key) const;
    std::string text(std::string_view schema, std::string_view key) const;

private:
    std::array<const Node*, 3> tables_{};
    std::size_t size_ = 0;
};

inline Duration duration_of(std::uint64_t milliseconds)
{
    return Duration(static_cast<Duration::rep>(milliseconds));
}

/// The node where it is there and good, else null.
inline const Node* good(const Node* node)
{
    return node != nullptr && node->state == Node::State::good ? node : nullptr;
}

/// The strings of a texts value that are good; empty for null.
std::vector<const Node*> good_items(const Node* node);

class Builder {
public:
    /// What nobody checks is taken as it is.
    Builder(FileSource& files, const Node& root, Findings& findings, TlsChecks checks)
        : files_(files), root_(root), findings_(findings), checks_(checks)
    {
    }

    /// The whole configuration; only to be used where findings have no errors.
    std::shared_ptr<Config> build();

private:
    struct Known {
        std::uint32_t index = 0;
        Place place;
        std::string path; ///< of the key that defined it
        bool is_used = false;
    };
    // build_server.cc
    void build_server();
    void build_limits();
    void build_log();
    LogTarget log_target(const Inherited& table, std::string_view schema, const std::string& path);
    Timeouts timeouts(const Inherited& table) const;
    /// The set of a folder, read once; `node` names it. 0 where it cannot be used (reported).
    std::uint32_t error_page_set(const Node& node, const std::string& path);

    // build_cache.cc
    void build_cache();
    /// A route's cache, or the site's own where `route` is null; null = not cached.
    std::shared_ptr<const RouteCache> route_cache(const Node* route, const Node& site, const std::string& path);
    void build_freshness(RouteCache& cache, const Inherited& table, const std::string& path);
    std::vector<http::StatusTtl> negative_ttls(const Inherited& table, const std::string& path);
    void build_cache_lists(RouteCache& cache, const Inherited& table, const std::string& path);
    void build_bypass(RouteCache& cache, const Node& item, const std::string& path);
    /// Reports a value once, however many routes inherit it.
    void refuse_once(const Node& node, const std::string& path, std::string message, std::string hint = {});

    // build_upstreams.cc
    void build_upstreams();
    /// TLS of an upstream whose servers are known; `table` may be null.
    void build_upstream_tls(Upstream& upstream, const Node* table, const Node& node, const std::string& path);
    void build_own_certificate(UpstreamTls& tls, const Node& table, const std::string& path);
    // build_balance.cc
    void build_adaptive(Upstream& upstream, const Inherited& table, const std::string& path);
    /// `balance` and `sticky`, of an upstream whose `adaptive` is known.
    void build_balance(Upstream& upstream, const Inherited& table, const std::string& path);
    void build_hash_key(HashKey& key, const Node& node, const std::string& path);
    // build_health.cc
    /// `health`, `agent`, `load_report`, `eject`, `breaker`, `retry` and the like, of an upstream whose tls and protocol are known.
    void build_health(Upstream& upstream, const Inherited& table, const std::string& path);
    void build_check(Upstream& upstream, const Inherited& table, const std::string& path);
    void build_agent(Upstream& upstream, const Inherited& upstream_table, const std::string& path);
    void build_slowness(Upstream& upstream, const Inherited& eject, const std::string& path);
    void build_breaker(Upstream& upstream, const Inherited& upstream_table, const std::string& path);
    void build_hedge(Upstream& upstream, const Inherited& upstream_table, const std::string& path);
    void build_retry(Retry& retry, const Inherited& table, const std::string& path);
    void change_servers(Upstream& upstream, const Inherited& defaults, const std::string& path);
    void add_changed_server(Upstream& upstream, const ServerChange& change, const Inherited& defaults, const std::string& path);
    void add_server(Upstream& upstream, const Node& item, const Inherited& defaults, const std::string& path,
                    std::map<std::string, Place>& seen);
    /// What a site's or route's `upstream` names; makes one for a URL. nullopt (reported) where there is none.
    std::optional<std::uint32_t> find_upstream(const Node& node, const std::string& path);
    void warn_unused();

    // build_sites.cc
    void build_listens();
    void build_protocols(Listen& listen, const Node& node, const std::string& path);
    void build_proxy_protocol(Listen& listen, const Node& node, const std::string& path);
    void build_sites();
    void build_site(const Node& node, const std::string& path);
    std::optional<std::string> site_name(const std::string& written, const Place& place, const std::string& path);
    bool claim_host(const std::string& host, const Place& place, const std::string& path);
    std::vector<std::uint32_t> site_listens(const Node& site, const std::string& path);
    std::optional<std::uint32_t> find_listen(const Node& item, const std::string& path);
    /// The index of the Listen made for one address; nullopt (reported) where a [listen.NAME] has it.
    std::optional<std::uint32_t> listen_for(BindAddress address, const Node& node, const std::string& path, bool is_default);

    // build_tls.cc
    void build_providers(const Node* written);
    void build_server_tls();
    void build_tls(Site& site, const Node& node, const std::string& path);
    void build_client_certificates(SiteTls& tls, const Inherited& table, const std::string& path);
    void add_certificate(Site& site, const Node& cert, const Node* key, const std::string& path);
    void warn_uncovered(const std::string& host, const CertificateReport& report, const Node& cert, const std::string& path);
    std::optional<SharedText> kept_file(const std::string& written, const Node& node, const std::string& path,
                                        std::string hint = {});
    std::optional<SharedText> kept_key(const Node& node, const std::string& path);
    void build_key_device();
    /// After both are known: a site with tls has an address for it, and the other way round.
    void match_tls_and_listens(Site& site, const Node& node, const std::string& path);

    // build_routes.cc
    void build_routes(Site& site, const Node& node, const std::string& path);
    /// A route, or the site's own where `route` is null; `inherited` is the site's upstream.
    Route build_route(const Node* route, const Node& site_node, std::optional<std::uint32_t> inherited, const std::string& path);
    /// Whether the route answers by itself (respond, redirect), of which there is one at most, and no upstream beside it.
    bool build_own_answer(Route& route, const Node& node, const std::string& path);
    void build_respond(Route& route, const Node& node, const std::string& path);
    void find_hidden_routes(const Site& site, const std::vector<Place>& places, const std::string& path);

    // build_matches.cc
    /// False where something about the match was wrong (and reported).
    bool build_match(Route& route, const Node& node, const Site& site, const std::string& path);
    void build_path_match(Match& match, const Node& node, const std::string& path);
    void build_host_match(Match& match, const Node& node, const Site& site, const std::string& path);
    void build_method_match(Match& match, const Node& node, const std::string& path);
    void build_type_matches(Match& match, const Node& node, const std::string& path);
    void build_client_match(Match& match, const Node& node, const std::string& path);
    /// What a table of names and patterns stands for: names of headers have no case.
    enum class Named : std::uint8_t { header, query, cookie };
    std::vector<NamedMatch> named_matches(const Node* node, const std::string& path, Named kind);
    /// Reads [server] country_database, once; `node` is the first route's that asks for a country.
    void need_countries(const Node& node, const std::string& path);

    // build_actions.cc
    DefinedAt place_of(const Place& place);
    bool find_expression(const Node* node, const Match& match, const std::string& path, http::Expression& out);
    std::optional<http::PathTemplate> find_template(const Node& node, http::PathTemplate::For use,
                                                    const http::Expression& expression, const std::string& path);
    void build_path_change(Route& route, const Node& node, const std::string& path);
    void build_redirect(Route& route, const Node& node, const std::string& path);
    /// A table `headers` of one level, with its path.
    struct LevelTable {
        const Node* table;
        std::string path;
    };
    FieldEdits merge_edits(const std::vector<LevelTable>& tables, bool is_request, std::string_view subject);
    /// Of a route, of the site's own where `route` is null, of the file's where there is no site either; null = none.
    std::shared_ptr<const HeaderEdits> header_edits(const Node* route, const Node* node, const Site& site, const std::string& path);
    void build_split(Route& route, const Node& node, const std::string& path);
    /// Of a route whose upstreams are known, or of the site's own where `route_node` is null.
    void build_mirror(Route& route, const Node* route_node, const Node& site_node, const std::string& path);

    FileSource& files_;
    const Node& root_;
    Findings& findings_;
    TlsChecks checks_;
    std::set<std::string> key_kinds_; ///< of the certificates of the site that is being built
    std::shared_ptr<Config> config_ = std::make_shared<Config>();
    std::map<std::string, Known> upstreams_;         ///< by name or canonical URL
    std::map<std::string, Known> listens_;           ///< [listen.NAME] by name
    std::map<std::string, Known> addresses_;         ///< by canonical text, the Listen that has it
    std::map<std::string, Known> hosts_;             ///< every site name and alias
    std::map<std::string, std::uint32_t> page_sets_; ///< by folder
    std::set<const Node*> refused_;                  ///< by refuse_once()
    std::uint32_t server_count_ = 0;
    bool has_read_countries_ = false;
};

} // namespace ladle::config
