// SPDX-License-Identifier: Apache-2.0
#include "master/cli/commands.h"

#include "common/config/docs.h"
#include "common/config/path_examples.h"
#include "master/cli/asking.h"
#include "master/cli/daemon.h"
#include "master/cli/find_master.h"
#include "master/control/client.h"
#include "master/handover.h"
#include "master/running.h"
#include "master/status.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <optional>

namespace ladle::master::cli {

int start(const CommandOptions& options)
{
    if (const auto connection = connect_master(options)) {
        return complain(fmt::format("already running (pid {})", peer_pid(connection->get())));
    } else if (connection.error().code == EACCES) {
        return complain(connection.error().detail);
    }
    const LoadedFile loaded = load_file(options.config_path, 1);
    fmt::print(stderr, "{}", explain(loaded));
    if (!loaded.running.config) {
        return complain(fmt::format("not started: {} in {}", config::summary(loaded.diagnostics), options.config_path));
    }
    if (is_systemd_unit(options.config_path)) {
        return run_systemctl("start");
    }
    const StartOutcome outcome = start_daemon(options, *loaded.running.config);
    if (!outcome.failure.empty()) {
        return complain("not started: " + outcome.failure);
    }
    std::string addresses;
    for (const config::BindAddress& bind : bind_addresses(*loaded.running.config)) {
        addresses += (addresses.empty() ? "" : ", ") + bind.text;
    }
    fmt::print("ladle: serving on {} (pid {}); errors are logged to {}\n", addresses, outcome.pid, outcome.error_log);
    return 0;
}

int stop(const CommandOptions& options, When when)
{
    const nlohmann::json state = look_at_master(options);
    if (when == When::drained && state.value("systemd", false) && is_systemd_unit(options.config_path)) {
        return run_systemctl("stop"); // or it would be started again
    }
    return order(options, {{"command", "stop"}, {"now", when == When::now}});
}

int restart(const CommandOptions& options)
{
    const LoadedFile loaded = load_file(options.config_path, 1);
    if (!loaded.running.config) {
        fmt::print(stderr, "{}", explain(loaded));
        return complain(fmt::format("not restarted: {} in {}", config::summary(loaded.diagnostics), options.config_path));
    }
    if (is_systemd_unit(options.config_path)) {
        look_at_master(options);
        return run_systemctl("restart");
    }
    const auto connection = connect_master(options);
    if (connection) {
        if (const int code = stop(options, When::drained); code != 0) {
            return code;
        }
    }
    return start(options);
}

int run(const CommandOptions& options)
{
    return run_master(options, {}, [](const std::string& failure) {
        if (!failure.empty()) {
            complain("not started: " + failure);
        }
    });
}

int reload(const CommandOptions& options)
{
    nlohmann::json answer;
    if (const auto reason = ask_master(options, {{"command", "status"}}, answer)) {
        return complain(*reason);
    }
    if (const auto other = other_file(options, answer)) {
        return complain("not reloaded: " + *other); // it would read its own, and the one that was meant would seem good
    }
    if (const auto reason = ask_master(options, {{"command", "reload"}}, answer)) {
        return complain(*reason);
    }
    fmt::print(stderr, "{}", answer.value("text", ""));
    if (answer.value("ok", false)) {
        fmt::print("ladle: {}\n", answer.value("message", "reloaded"));
        return 0;
    }
    const std::string since = answer.value("since", "");
    return complain(answer.value("message", "not applied") +
                    (since.empty() ? "" : fmt::format(", still running the configuration of {}", since)));
}

int upgrade(const CommandOptions& options)
{
    look_at_master(options);
    return order(options, {{"command", "upgrade"}});
}

int reopen(const CommandOptions& options)
{
    look_at_master(options);
    return order(options, {{"command", "reopen"}});
}

namespace {

int order_breaker(const CommandOptions& options, const ServerChoice& choice)
{
    if (choice.server != "close" || !choice.action.empty() || choice.max_conn || choice.is_backup) {
        fmt::print(stderr, "ladle: a breaker can be told to close, and nothing more\n");
        return 2;
    }
    look_at_master(options);
    return order(options, {{"command", "breaker"}, {"upstream", choice.upstream}, {"action", choice.server}});
}

} // namespace

int order_server(const CommandOptions& options, const ServerChoice& choice)
{
    if (choice.kind == "breaker") {
        return order_breaker(options, choice);
    }
    const bool adds = choice.action == "add";
    const char* mistake = choice.action.empty() ? "what about it? drain, down, resume, up, weight, add or remove"
                          : choice.action == "weight" && !choice.weight           ? "which weight? A number from 1 to 1000"
                          : choice.weight && choice.action != "weight" && !adds ? "only weight and add take a number"
                          : (choice.max_conn || choice.is_backup) && !adds      ? "only add takes --max-conn and --backup"
                                                                                : nullptr;
    if (mistake != nullptr) {
        fmt::print(stderr, "ladle: {}\n", mistake);
        return 2;
    }
    look_at_master(options);
    return order(options, {{"command", "server"},
                           {"upstream", choice.upstream},
                           {"server", choice.server},
                           {"action", choice.action},
                           {"weight", choice.weight.value_or(0)},
                           {"max_conn", choice.max_conn.value_or(0)},
                           {"backup", choice.is_backup}});
}

int status(const CommandOptions& options, Format format)
{
    const auto connection = connect_master(options);
    if (!connection) {
        if (format == Format::json) {
            const nlohmann::json none = {{"ok", false}, {"state", "unreachable"}, {"message", connection.error().detail}};
            fmt::print("{}\n", none.dump(2));
        }
        return complain(connection.error().detail);
    }
    const auto answer = ask(connection->get(), {{"command", "status"}});
    if (!answer) {
        return complain(answer.error().detail);
    }
    if (const auto other = other_file(options, *answer)) {
        complain(*other);
    }
    if (format == Format::json) {
        fmt::print("{}\n", answer->dump(2));
    } else {
        fmt::print("{}", render_status(*answer));
    }
    return 0;
}

int check(const CommandOptions& options, Format format)
{
    const LoadedFile loaded = load_file(options.config_path, 1);
    if (format == Format::json) {
        fmt::print("{}\n", config::to_json(loaded.diagnostics));
        return loaded.running.config ? 0 : 1;
    }
    fmt::print(stderr, "{}", explain(loaded));
    if (!loaded.running.config) {
        fmt::print(stderr, "{}: {}\n", options.config_path, config::summary(loaded.diagnostics));
        return 1;
    }
    for (const std::string& line : config::path_examples(*loaded.running.config)) {
        fmt::print("{}\n", line);
    }
    fmt::print("{}: {}\n", options.config_path, loaded.diagnostics.empty() ? "good" : config::summary(loaded.diagnostics));
    return 0;
}

int print_schema()
{
    fmt::print("{}\n", config::json_schema());
    return 0;
}

int check_handover(int descriptor)
{
    const auto good = master::check_handover(descriptor);
    if (!good) {
        fmt::print(stderr, "{}\n", good.error().detail);
        return 1;
    }
    return 0;
}

} // namespace ladle::master::cli
