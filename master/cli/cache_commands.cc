// SPDX-License-Identifier: Apache-2.0
//
// `ladle purge` and `ladle cache`: the question to the master, and its answer for people.
#include "common/base/append.h"
#include "master/cli/asking.h"
#include "master/human_units.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace ladle::master::cli {

namespace {

using nlohmann::json;

constexpr std::size_t kPerRequest = 32 * 1024; ///< bytes of texts; the master takes 64 KiB in one request

/// One request's share of the texts of a list.
struct Share {
    json request;
    std::size_t bytes = 0;
};

/// Splits what is to be purged into requests that the master takes.
std::vector<json> requests_for(const PurgeChoice& choice)
{
    std::vector<json> requests;
    Share share;
    const auto begin = [&] { share = {{{"command", "purge"}, {"soft", choice.soft}, {"all", choice.all && requests.empty()}}, 0}; };
    begin();
    for (const auto& [name, texts] :
         {std::pair{"urls", &choice.urls}, std::pair{"prefixes", &choice.prefixes}, std::pair{"tags", &choice.tags}}) {
        for (const std::string& text : *texts) {
            if (share.bytes > 0 && share.bytes + text.size() > kPerRequest) {
                requests.push_back(std::move(share.request));
                begin();
            }
            share.request[name].push_back(text);
            share.bytes += text.size() + 16;
        }
    }
    requests.push_back(std::move(share.request));
    return requests;
}

/// Seconds left, or since when it is stale.
std::string render_left(std::int64_t seconds)
{
    return seconds > 0 ? render_duration(seconds) : seconds == 0 ? "0s" : "-" + render_duration(-seconds);
}

/// The variant's lines as one: "accept-encoding:br>gzip accept-language".
std::string one_line(std::string text)
{
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    for (char& c : text) {
        c = c == '\n' ? ' ' : c;
    }
    return printable(text);
}

bool is_on_disk(const json& object)
{
    return object.value("tier", "") == "disk";
}

/// URL, what else is in the key, and the variant.
std::string render_name(const json& object)
{
    std::string out = printable(object.value("url", ""));
    if (is_on_disk(object)) {
        out += (out.empty() ? "on disk: " : " on disk: ") + printable(object.value("file", ""));
    }
    for (const char* const more : {"key", "variant"}) {
        if (const std::string text = object.value(more, ""); !text.empty()) {
            out += " [" + one_line(text) + "]";
        }
    }
    return out;
}

void print_list(const json& answer)
{
    std::string out = fmt::format("{:>9} {:>9} {:>7} {:>10} {:>6}  URL\n", "AGE", "LEFT", "HITS", "SIZE", "STATUS");
    std::size_t shown = 0;
    for (const json& object : answer["objects"]) {
        if (object.value("kind", "") != "response") {
            continue; // a vary record: its variants stand for it
        }
        ++shown;
        std::string verdict = object.value("verdict", "");
        verdict.resize(std::min(verdict.find_first_of(":("), verdict.size())); // the reason is for the one that is looked at
        while (verdict.ends_with(' ')) {
            verdict.pop_back();
        }
        append(out, "{:>9} {:>9} {:>7} {:>10} {:>6}  {}{}\n", render_duration(object["age_s"]), render_left(object["left_s"]),
               object["hits"].get<std::uint64_t>(), render_bytes(object["stored_bytes"]), object["status"].get<int>(),
               render_name(object), verdict == "served" ? "" : " (" + verdict + ")");
    }
    const auto in_all = answer["objects_in_all"].get<std::uint64_t>();
    const auto on_disk = answer.value("objects_on_disk", std::uint64_t{0});
    out += answer.value("is_complete", true) ? fmt::format("{} response{}", shown, shown == 1 ? "" : "s")
                                             : fmt::format("{} of about {} responses; --limit shows more", shown, in_all);
    out += on_disk > 0 ? fmt::format("; on disk {} objects in all\n", on_disk) : "\n";
    fmt::print("{}", out);
}

std::string joined(const json& words)
{
    std::string out;
    for (const json& word : words) {
        out += (out.empty() ? "" : " ") + word.get<std::string>();
    }
    return out;
}

void print_response(std::string& out, const json& object)
{
    const auto line = [&out](const char* what, const std::string& text) { append(out, "  {:<9} {}\n", what, text); };
    out += render_name(object) + "\n";
    line("now", object.value("verdict", ""));
    line("status", std::to_string(object["status"].get<int>()));
    const std::string source = object.value("lifetime_from", "");
    line("age", fmt::format("{}, left {} of {}{}", render_duration(object["age_s"]), render_left(object["left_s"]),
                            render_duration(object["lifetime_s"]), source.empty() ? "" : " (from " + source + ")"));
    std::string stale;
    for (const auto& [key, name] :
         {std::pair{"stale_while_revalidate_s", "stale-while-revalidate"}, std::pair{"stale_if_error_s", "stale-if-error"}}) {
        if (const auto seconds = object.value(key, std::int64_t{0}); seconds > 0) {
            stale += fmt::format("{}{} {}", stale.empty() ? "" : ", ", name, render_duration(seconds));
        }
    }
    if (!stale.empty()) {
        line("stale", stale);
    }
    if (const std::string flags = joined(object["flags"]); !flags.empty()) {
        line("flags", flags);
    }
    const auto counted = [&object](const char* key, const char* one) {
        const auto count = object[key].get<std::uint64_t>();
        return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
    };
    line("uses", fmt::format("{}, {}, purged: {}", counted("hits", "hit"), counted("tags", "tag"), object.value("purged", "")));
    if (is_on_disk(object)) {
        const std::string size = render_bytes(object["stored_bytes"]);
        return line("file", fmt::format("{} in {}, and not in memory", size, object.value("file", "")));
    }
    const json& body = object["body_bytes"];
    const char* const where = object.value("in_file", false)   ? "in a file"
                              : object.value("on_disk", false) ? "in memory, the body on disk"
                                                               : "in memory";
    line("body", fmt::format("{}, {} of {}, {} stored {}", object.value("state", ""), render_bytes(object["filled_bytes"]),
                             body.is_null() ? std::string("an unknown length") : render_bytes(body),
                             render_bytes(object["stored_bytes"]), where));
    if (const std::string file = object.value("file", ""); !file.empty()) {
        line("on disk", file);
    }
}

int print_url(const std::string& url, const json& answer)
{
    std::string out;
    std::string varies;
    bool is_record_on_disk = false;
    for (const json& object : answer["objects"]) {
        if (object.value("kind", "") == "response") {
            out += out.empty() ? "" : "\n";
            print_response(out, object);
        } else {
            is_record_on_disk = is_record_on_disk || is_on_disk(object);
            varies += is_on_disk(object) ? "varies: the record of that is on disk in " + object.value("file", "") + "\n"
                                         : "varies by " + printable(object.value("vary", "")) + "\n";
        }
    }
    fmt::print("{}{}", varies, out);
    if (!out.empty() || is_record_on_disk) {
        return 0;
    }
    return complain(fmt::format("{} is not in the cache{}", printable(url),
                                answer.value("is_known_uncacheable", false)
                                    ? ": a response of the last [cache] uncacheable_for could not be kept, see its Cache-Status"
                                    : ""));
}

} // namespace

int purge(const CommandOptions& options, const PurgeChoice& choice)
{
    look_at_master(options);
    for (const json& request : requests_for(choice)) {
        if (const int code = order(options, request); code != 0) {
            return code;
        }
    }
    return 0;
}

int show_cache(const CommandOptions& options, const CacheChoice& choice, Format format)
{
    look_at_master(options);
    json request = {{"command", "cache"}, {"limit", choice.limit}};
    if (!choice.url.empty()) {
        request["url"] = choice.url;
    }
    if (!choice.prefix.empty()) {
        request["prefix"] = choice.prefix;
    }
    json answer;
    if (const auto reason = ask_master(options, request, answer)) {
        return complain(*reason);
    }
    if (!answer.value("ok", false)) {
        return complain(answer.value("message", "it did not work"));
    }
    if (format == Format::json) {
        fmt::print("{}\n", answer.dump(2));
        return choice.url.empty() || !answer["objects"].empty() ? 0 : 1;
    }
    if (!choice.url.empty()) {
        return print_url(choice.url, answer);
    }
    print_list(answer);
    return 0;
}

int check_cache(const CommandOptions& options, Format format)
{
    look_at_master(options);
    json answer;
    if (const auto reason = ask_master(options, {{"command", "check_cache"}}, answer)) {
        return complain(*reason);
    }
    if (!answer.value("ok", false)) {
        return complain(answer.value("message", "it did not work"));
    }
    const json& broken = answer["broken"];
    const auto leaked = answer.value("leaked_bytes", std::uint64_t{0});
    const bool is_whole = broken.empty() && leaked == 0;
    if (format == Format::json) {
        fmt::print("{}\n", answer.dump(2));
        return is_whole ? 0 : 1;
    }
    for (const json& line : broken) {
        fmt::print("{}\n", line.get<std::string>());
    }
    const auto objects = answer.value("objects", std::uint64_t{0});
    fmt::print("{} objects, {}, {} lost\n", objects, is_whole ? "the cache is whole" : "the cache is broken", render_bytes(leaked));
    return is_whole ? 0 : 1;
}

} // namespace ladle::master::cli
