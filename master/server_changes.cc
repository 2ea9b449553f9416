// SPDX-License-Identifier: Apache-2.0
#include "master/server_changes.h"

#include "common/config/names.h"
#include "common/config/values.h"
#include "master/kept_file.h"
#include "master/order_words.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>

namespace ladle::master {

using nlohmann::json;

void ServerChanges::open(std::string path)
{
    path_ = std::move(path);
    if (const auto text = read_kept_file(path_, "servers that were added or removed")) {
        changes_ = config::parse_server_changes(*text);
    }
}

void ServerChanges::close()
{
    changes_.clear();
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
}

json ServerChanges::propose(const config::Config& config, const json& request)
{
    const std::string name = text_of(request, "upstream");
    const std::string wanted = text_of(request, "server");
    const bool is_removal = text_of(request, "action") == "remove";
    const config::Upstream* upstream = find_upstream(config, name);
    if (upstream == nullptr || name.find("://") != std::string::npos) {
        return refuse(fmt::format("there is no [upstream.\"{}\"] in the configuration", name));
    }
    const auto server = config::parse_server(wanted);
    if (!server || !config::is_printable(wanted)) {
        return refuse(!server ? server.error().message : "the name of a server has printable characters");
    }
    if (number_of(request, "weight", 0) > config::kMostServerWeight) {
        return refuse(fmt::format("the weight of a server is {} at the most", config::kMostServerWeight));
    }
    const config::UpstreamServer* const there = find_server(*upstream, server->text);
    const auto is_about_it = [&](const config::ServerChange& one) {
        const auto other = config::parse_server(one.server);
        return one.upstream == name && other && other->text == server->text;
    };
    const bool is_known = is_removal && std::ranges::any_of(changes_, is_about_it); // and was passed over
    if (is_removal != (there != nullptr) && !is_known) {
        return refuse(there != nullptr ? fmt::format("upstream \"{}\" has the server {} already", name, server->text)
                                       : fmt::format("upstream \"{}\" has no server \"{}\"; it has {}", name, server->text,
                                                     list_servers(*upstream)));
    }
    if (is_removal && there != nullptr && upstream->servers.size() == 1) {
        return refuse(fmt::format("{} is the last server of upstream \"{}\"", server->text, name));
    }
    before_ = changes_;
    std::erase_if(changes_, is_about_it);
    const config::ServerChange change{name,
                                      wanted,
                                      is_removal,
                                      static_cast<std::uint32_t>(number_of(request, "weight", 0)),
                                      static_cast<std::uint32_t>(number_of(request, "max_conn", 0)),
                                      request.contains("backup") && request["backup"] == true};
    const bool is_of_file = is_removal ? there != nullptr && !there->is_added
                                       : std::ranges::find(upstream->removed, server->text) != upstream->removed.end();
    if (!is_removal && is_of_file && (change.weight != 0 || change.max_conn != 0 || change.is_backup)) {
        take_back();
        return refuse(fmt::format("the configuration has {}: it comes back as it stands there, add it without more", server->text));
    }
    if (is_removal == is_of_file) { // else the file says it already
        changes_.push_back(change);
    }
    proposed_ = change;
    proposed_.server = server->text;
    if (changes_.size() > config::kMostServerChanges) {
        take_back();
        return refuse(
            fmt::format("no more than {} servers can be changed so: write them in the configuration", config::kMostServerChanges));
    }
    return {{"ok", true},
            {"message", fmt::format("server {} of upstream {}: {}", server->text, name, is_removal ? "removed" : "added")}};
}

bool ServerChanges::are_in(const config::Config& config) const
{
    const config::Upstream* upstream = find_upstream(config, proposed_.upstream);
    return upstream != nullptr && has_server(*upstream, proposed_.server) != proposed_.is_removal;
}

bool ServerChanges::commit()
{
    before_.clear();
    return write_kept_file(path_, text());
}

void ServerChanges::take_back()
{
    changes_ = std::move(before_);
    before_.clear();
}

} // namespace ladle::master
