// SPDX-License-Identifier: Apache-2.0
#include "master/cli/cli.h"

#include "common/os/process.h"
#include "master/cli/commands.h"
#include "master/demo/demo.h"

#include <CLI/CLI.hpp>

#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace ladle::master::cli {

namespace {

bool is_same_file(const std::string& a, const std::string& b)
{
    struct stat one {};
    struct stat other {};
    return ::stat(a.c_str(), &one) == 0 && ::stat(b.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/// Where this program lies, as it was called if that names a path: a symbolic link that is moved on is what an upgrade follows.
std::string find_binary(const std::string& called)
{
    std::error_code error;
    const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
    if (called.find('/') != std::string::npos) {
        const std::string absolute = std::filesystem::absolute(called, error).lexically_normal().string();
        if (!error && is_same_file(absolute, "/proc/self/exe")) {
            return absolute;
        }
    }
    return self;
}

/// All the commands, and the choice made among them.
struct CommandLine {
    CLI::App app{"Ladle, a reverse proxy: takes every client's connection and hands each request to the right server.", "ladle"};
    CommandOptions options;
    DemoOptions demo;
    std::string check_file;
    bool now = false;
    bool as_json = false;
    std::string format = "text";
    bool schema = false;
    int descriptor = -1;
    std::function<int()> chosen;

    CLI::App* add(const std::string& name, const std::string& text, std::function<int()> action)
    {
        CLI::App* command = app.add_subcommand(name, text);
        command->callback([this, action = std::move(action)] { chosen = action; });
        command->add_option("-c,--config", options.config_path, "the configuration file")->type_name("FILE")->capture_default_str();
        return command;
    }
};

void add_life_commands(CommandLine& line)
{
    line.add("start", "Start in the background; returns when clients are served.", [&line] { return start(line.options); });
    CLI::App* stop_command = line.add("stop", "Finish the requests under way, then stop.",
                                      [&line] { return stop(line.options, line.now ? When::now : When::drained); });
    stop_command->add_flag("--now", line.now, "cut requests off instead");
    line.add("restart", "Stop, then start. (reload and upgrade need no restart.)", [&line] { return restart(line.options); });
    CLI::App* run_command =
        line.add("run", "Stay in the foreground: for systemd, containers and trying out.", [&line] { return run(line.options); });
    run_command->add_option("--handover", line.options.handover)->group("");
}

void add_running_commands(CommandLine& line)
{
    line.add("reload", "Put the changed configuration in force, without closing a connection; says whether it is.",
             [&line] { return reload(line.options); });
    line.add("upgrade", "Become the program that is installed now, without closing a connection.",
             [&line] { return upgrade(line.options); });
    line.add("reopen", "Open the log files anew, after they were rotated.", [&line] { return reopen(line.options); });
    CLI::App* status_command = line.add("status", "Show workers, listeners, servers and counters.",
                                        [&line] { return status(line.options, line.as_json ? Format::json : Format::text); });
    status_command->add_flag("--json", line.as_json, "for programs");
}

void add_other_commands(CommandLine& line)
{
    CLI::App* check_command = line.add("check", "Check a configuration file; changes nothing and needs no rights.", [&line] {
        if (line.schema) {
            return print_schema();
        }
        if (!line.check_file.empty()) {
            line.options.config_path = std::filesystem::absolute(line.check_file).lexically_normal().string();
        }
        return check(line.options, line.format == "json" ? Format::json : Format::text);
    });
    check_command->add_option("FILE", line.check_file, "the file to check, instead of --config");
    check_command->add_option("--format", line.format, "text, or json for editors")
        ->check(CLI::IsMember({"text", "json"}))
        ->capture_default_str();
    check_command->add_flag("--schema", line.schema, "print the JSON schema of the configuration file instead");
    CLI::App* demo_command = line.app.add_subcommand("demo", "Try Ladle: a proxy with two small servers behind it, until Ctrl-C.");
    demo_command->add_option("--port", line.demo.port, "where it listens on 127.0.0.1 (8080, or a free one)")
        ->check(CLI::Range(0, 65535));
    demo_command->callback([&line] { line.chosen = [&line] { return run_demo(line.demo, line.options); }; });
    CLI::App* version_command = line.app.add_subcommand("version", "Show the version.");
    version_command->callback([&line] {
        line.chosen = [] {
            std::printf("ladle %s\n", LADLE_VERSION);
            return 0;
        };
    });
    CLI::App* handover_command = line.app.add_subcommand("check-handover", "")->group("");
    handover_command->add_option("FD", line.descriptor)->required();
    handover_command->callback([&line] { line.chosen = [&line] { return check_handover(line.descriptor); }; });
}

} // namespace

int run_cli(int argc, char** argv, const Roles& roles)
{
    CommandLine line;
    line.options.roles = roles;
    line.options.binary_path = find_binary(argc > 0 ? argv[0] : "ladle");
    line.app.require_subcommand(0, 1);
    line.app.set_version_flag("--version", "ladle " LADLE_VERSION);
    line.app.add_option("-c,--config", line.options.config_path, "the configuration file")
        ->type_name("FILE")
        ->capture_default_str();
    add_life_commands(line);
    add_running_commands(line);
    add_other_commands(line);
    try {
        line.app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return line.app.exit(error) == 0 ? 0 : 2;
    }
    if (!line.chosen) {
        std::fputs(line.app.help().c_str(), stderr);
        return 2;
    }
    os::keep_title_space(argc, argv);
    line.options.config_path = std::filesystem::absolute(line.options.config_path).lexically_normal().string();
    return line.chosen();
}

} // namespace ladle::master::cli
