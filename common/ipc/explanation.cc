// SPDX-License-Identifier: Apache-2.0
#include "common/ipc/explanation.h"

#include "common/base/json.h"

namespace ladle::ipc {

namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json)
{
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json object(const Facts& facts)
{
    Json out = Json::object();
    for (const auto& [name, value] : facts) {
        out[name] = value.empty() ? Json() : Json(value);
    }
    return out;
}

} // namespace

std::string to_text(const Question& question)
{
    Json fields = Json::array();
    for (const auto& [name, value] : question.fields) {
        fields.push_back({name, value});
    }
    return dump({{"method", question.method}, {"url", question.url}, {"client", question.client}, {"fields", fields}});
}

std::expected<Question, std::string> read_question(std::string_view text)
{
    const Json json = Json::parse(text, nullptr, false);
    Question out;
    const auto take = [&](const char* name, std::string& into) {
        if (!json.is_object() || !json.contains(name) || !json[name].is_string()) {
            return false;
        }
        into = json[name];
        return true;
    };
    if (!take("method", out.method) || !take("url", out.url) || !take("client", out.client) || !json.contains("fields") ||
        !json["fields"].is_array()) {
        return std::unexpected("that is no question");
    }
    for (const Json& field : json["fields"]) {
        if (!field.is_array() || field.size() != 2 || !field[0].is_string() || !field[1].is_string()) {
            return std::unexpected("that is no header");
        }
        out.fields.emplace_back(field[0], field[1]);
    }
    return out;
}

std::string to_text(const Explanation& e)
{
    if (!e.error.empty()) {
        return dump({{"ok", false}, {"message", e.error}});
    }
    Json servers = Json::array();
    for (const ExplainedServer& server : e.servers) {
        servers.push_back({{"address", server.address}, {"weight", server.weight}, {"chosen", server.is_chosen}});
        if (server.share != 100) {
            servers.back()["weight_percent"] = server.share;
        }
        if (server.limit != 0) {
            servers.back()["limit"] = server.limit;
        }
        if (!server.agent.empty()) {
            servers.back()["agent"] = server.agent;
        }
    }
    Json out = {{"ok", true}};
    const auto add = [&out](const char* name, const std::string& value) {
        if (!value.empty()) {
            out[name] = value;
        }
    };
    if (!e.site.empty()) {
        out["site"] = {{"name", e.site}, {"at", e.site_at}};
    }
    if (!e.route.empty()) {
        out["route"] = {{"name", e.route}, {"at", e.route_at}};
    }
    if (e.status != 0) {
        out["answer"] = {{"status", e.status}, {"reason", e.reason}};
    }
    add("location", e.location);
    add("path", e.path);
    add("sent", e.sent);
    if (!e.upstream.empty()) {
        out["upstream"] = {{"name", e.upstream}, {"servers", servers}};
        if (!e.breaker.empty()) {
            out["upstream"]["breaker"] = e.breaker;
        }
    }
    if (!e.mirror.empty()) {
        out["mirror"] = {{"upstream", e.mirror}, {"share", e.mirror_share}};
    }
    add("cache_key", e.cache_key);
    if (!e.limits.empty()) {
        out["body"] = e.body_bytes;
        out["limits"] = object(e.limits);
    }
    if (!e.request_headers.empty()) {
        out["request_headers"] = object(e.request_headers);
    }
    if (!e.response_headers.empty()) {
        out["response_headers"] = object(e.response_headers);
    }
    return dump(out);
}

} // namespace ladle::ipc
