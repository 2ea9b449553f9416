// SPDX-License-Identifier: Apache-2.0
//
// `ladle explain METHOD URL`: asks the running master and prints what it says, for people or as JSON.
#include "common/ipc/explanation.h"
#include "master/cli/asking.h"
#include "master/cli/commands.h"

#include <fmt/format.h>

#include <cstdio>

namespace ladle::master::cli {

namespace {

std::string text_at(const nlohmann::json& json, const char* pointer)
{
    return json.value(nlohmann::json::json_pointer(pointer), "");
}

void print_line(const char* name, const std::string& value)
{
    if (!value.empty()) {
        fmt::print("{:<10}{}\n", name, value);
    }
}

void print_named(const nlohmann::json& answer, const char* name)
{
    const std::string what = text_at(answer, fmt::format("/{}/name", name).c_str());
    const std::string at = text_at(answer, fmt::format("/{}/at", name).c_str());
    print_line(name, at.empty() ? what : fmt::format("{}  ({})", what, at));
}

void print_edits(const nlohmann::json& answer, const char* key, const char* name)
{
    if (!answer.contains(key)) {
        return;
    }
    for (const auto& [header, value] : answer[key].items()) {
        print_line(name, value.is_null() ? fmt::format("without {}", header)
                                         : fmt::format("{}: {}", header, value.get<std::string>()));
    }
}

void print_upstream(const nlohmann::json& answer)
{
    if (!answer.contains("upstream")) {
        return;
    }
    const nlohmann::json& upstream = answer["upstream"];
    print_line("upstream", upstream.value("name", ""));
    if (const std::string breaker = upstream.value("breaker", ""); !breaker.empty()) {
        print_line("  breaker", breaker);
    }
    for (const nlohmann::json& server : upstream.value("servers", nlohmann::json::array())) {
        const auto weight = server.value("weight", 1u);
        const auto percent = server.value("weight_percent", 100u);
        std::string share = weight == 1 ? std::string() : fmt::format(" weight {}", weight);
        share += percent == 100 ? std::string() : fmt::format(", of its weight {} %", percent);
        if (const auto limit = server.value("limit", 0u); limit != 0) {
            share += fmt::format(" limit {}", limit);
        }
        if (const std::string agent = server.value("agent", ""); !agent.empty()) {
            share += fmt::format(", its agent says {}", agent);
        }
        const char* mark = server.value("chosen", false) ? "  <- would be asked now" : "";
        print_line("  server", server.value("address", "") + share + mark);
    }
}

void print_answer(const nlohmann::json& answer)
{
    print_named(answer, "site");
    print_named(answer, "route");
    print_line("path", text_at(answer, "/path"));
    if (answer.contains("answer")) {
        print_line("answer", fmt::format("{} ({})", answer["answer"].value("status", 0), text_at(answer, "/answer/reason")));
    }
    print_line("location", text_at(answer, "/location"));
    print_line("sent", text_at(answer, "/sent"));
    print_upstream(answer);
    if (answer.contains("mirror")) {
        const auto share = answer["mirror"].value("share", 0u);
        print_line("mirror", fmt::format("{} ({}% of the requests)", text_at(answer, "/mirror/upstream"), share));
    }
    print_line("cache key", text_at(answer, "/cache_key"));
    if (answer.contains("limits")) {
        std::string limits;
        for (const auto& [name, value] : answer["limits"].items()) {
            limits += fmt::format("{}{} = {}", limits.empty() ? "" : ", ", name, value.get<std::string>());
        }
        print_line("limits", limits);
    }
    print_edits(answer, "request_headers", "request");
    print_edits(answer, "response_headers", "response");
}

} // namespace

int explain(const CommandOptions& options, const ExplainChoice& choice, Format format)
{
    ipc::Question question{choice.method, choice.url, choice.client, {}};
    for (const std::string& header : choice.headers) {
        const std::size_t colon = header.find(':');
        if (colon == std::string::npos) {
            fmt::print(stderr, "ladle: expected a header such as -H 'Accept: text/html', got \"{}\"\n", header);
            return 2;
        }
        const std::size_t value = header.find_first_not_of(" \t", colon + 1);
        question.fields.emplace_back(header.substr(0, colon), value == std::string::npos ? "" : header.substr(value));
    }
    nlohmann::json answer;
    const nlohmann::json asked = parse_json(ipc::to_text(question));
    if (const auto reason = ask_master(options, {{"command", "explain"}, {"question", asked}}, answer)) {
        return complain(*reason);
    }
    if (!answer.value("ok", false)) {
        return complain(answer.value("message", "it did not work"));
    }
    if (format == Format::json) {
        fmt::print("{}\n", answer.dump(2));
    } else {
        print_answer(answer);
    }
    return 0;
}

} // namespace ladle::master::cli
