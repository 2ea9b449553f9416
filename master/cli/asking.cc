// SPDX-License-Identifier: Apache-2.0
#include "master/cli/asking.h"

#include "master/cli/find_master.h"
#include "master/control/client.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <tuple>

namespace ladle::master::cli {

int complain(const std::string& line)
{
    fmt::print(stderr, "ladle: {}\n", line);
    return 1;
}

Result<os::Fd> connect_master(const CommandOptions& options)
{
    const auto admin = find_admin(options.config_path);
    return admin ? connect_control(*admin) : std::unexpected(admin.error());
}

std::optional<std::string> ask_master(const CommandOptions& options, const nlohmann::json& request, nlohmann::json& answer)
{
    const auto connection = connect_master(options);
    if (!connection) {
        return connection.error().detail;
    }
    auto got = ask(connection->get(), request);
    if (!got) {
        return got.error().detail;
    }
    answer = std::move(*got);
    return std::nullopt;
}

int order(const CommandOptions& options, const nlohmann::json& request)
{
    nlohmann::json answer;
    if (const auto reason = ask_master(options, request, answer)) {
        return complain(*reason);
    }
    if (!answer.value("ok", false)) {
        fmt::print(stderr, "{}", answer.value("text", ""));
        return complain(answer.value("message", "it did not work"));
    }
    fmt::print("ladle: {}\n", answer.value("message", "done"));
    return 0;
}

std::optional<std::string> other_file(const CommandOptions& options, const nlohmann::json& status)
{
    const std::string running = status.value(nlohmann::json::json_pointer("/config/file"), "");
    std::error_code error;
    if (running.empty() || running == options.config_path || std::filesystem::equivalent(running, options.config_path, error)) {
        return std::nullopt;
    }
    return fmt::format("the running Ladle reads {}, not {}", running, options.config_path);
}

nlohmann::json look_at_master(const CommandOptions& options)
{
    nlohmann::json status = nlohmann::json::object();
    std::ignore = ask_master(options, {{"command", "status"}}, status); // who acts next says why nobody answers
    if (const auto other = other_file(options, status)) {
        complain(*other);
    }
    return status;
}

} // namespace ladle::master::cli
