// SPDX-License-Identifier: Apache-2.0
#include "master/cli/cli.h"

#include "common/config/names.h"
#include "common/os/process.h"
#include "master/cli/commands.h"
#include "master/demo/demo.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <signal.h>
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
    std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
    if (called.find('/') != std::string::npos) {
        std::string absolute = std::filesystem::absolute(called, error).lexically_normal().string();
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
    std::string helped_command;
    PurgeChoice purged;
    CacheChoice shown;
    ServerChoice server;
    ExplainChoice explained;
    bool checks_cache = false;
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

/// A line about a word of the command line that is none of `known`: with the one that was meant, or where to look.
int complain_of_word(const char* kind, std::string_view written, const std::vector<std::string>& known,
                     const std::string& listed_by)
{
    const std::vector<std::string_view> views(known.begin(), known.end());
    const std::string_view near = config::nearest(written, views);
    fmt::print(stderr, "ladle: there is no {} \"{}\": {}\n", kind, written,
               near.empty() ? listed_by + " --help lists them" : fmt::format("did you mean \"{}\"?", near));
    return 2;
}

int complain_of_command(const CLI::App& app, std::string_view written)
{
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App* one) { return !one->get_group().empty(); })) {
        names.push_back(command->get_name());
    }
    return complain_of_word("command", written, names, "ladle");
}

/// `app` is the command that the option stands behind, or the whole program.
int complain_of_option(const CLI::App& app, std::string_view written)
{
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options([](const CLI::Option* one) { return !one->get_group().empty(); })) {
        for (const std::string& name : option->get_lnames()) {
            names.push_back("--" + name);
        }
    }
    const std::string listed_by = app.get_parent() == nullptr ? "ladle" : "ladle " + app.get_name();
    return complain_of_word("option", written.substr(0, written.find('=')), names, listed_by);
}

/// `ladle help`: what --help says, of the whole or of the command.
int help(const CommandLine& line)
{
    const CLI::App* app = &line.app;
    if (!line.helped_command.empty()) {
        const auto found = line.app.get_subcommands([&line](const CLI::App* command) {
            return command->get_name() == line.helped_command && !command->get_group().empty();
        });
        if (found.empty()) {
            return complain_of_command(line.app, line.helped_command);
        }
        app = found.front();
    }
    // App::help() would explain the command that was given, which is "help".
    const std::string name = app == &line.app ? app->get_name() : line.app.get_name() + " " + app->get_name();
    fmt::print("{}", app->get_formatter()->make_help(app, name, CLI::AppFormatMode::Normal));
    return 0;
}

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
    CLI::App* explain_command =
        line.add("explain", "Say what the running Ladle would do with a request: site, route, path, server; sends nothing.",
                 [&line] { return explain(line.options, line.explained, line.as_json ? Format::json : Format::text); });
    explain_command->add_option("METHOD", line.explained.method, "such as GET")->required();
    explain_command->add_option("URL", line.explained.url, "such as https://example.com/path?query")->required();
    explain_command->add_option("-H,--header", line.explained.headers, "a header of the request, 'Name: value'; may be repeated")
        ->allow_extra_args(false);
    explain_command->add_option("--client", line.explained.client, "the client's address (127.0.0.1)");
    explain_command->add_flag("--json", line.as_json, "for programs");
}

void add_upstream_command(CommandLine& line)
{
    CLI::App* command = line.add("upstream",
                                 "Add or remove a server of an upstream, take it out or back, or change its share; close its "
                                 "breaker.",
                                 [&line] { return order_server(line.options, line.server); });
    command->add_option("NAME", line.server.upstream, "the upstream")->required();
    command->add_option("server|breaker", line.server.kind, "the word \"server\" or \"breaker\"")
        ->required()
        ->check(CLI::IsMember({"server", "breaker"}));
    command->add_option("ADDRESS", line.server.server, "the server, as ladle status shows it; of the breaker: close")->required();
    command->add_option("ACTION", line.server.action, "drain, down, resume, up, weight, add or remove")
        ->check(CLI::IsMember({"drain", "down", "resume", "up", "weight", "add", "remove"}));
    command->add_option("N", line.server.weight, "the weight; 0 is the configured one, of add the upstream's")
        ->check(CLI::Range(0, 1000));
    command->add_option("--max-conn", line.server.max_conn, "of add: requests in flight at the most")
        ->check(CLI::Range(1, 1000000));
    command->add_flag("--backup", line.server.is_backup, "of add: used only when no other server can be");
}

void add_cache_commands(CommandLine& line)
{
    CLI::App* purge_command = line.add("purge", "Take responses out of the cache, in every worker before it returns.", [&line] {
        const PurgeChoice& choice = line.purged;
        if (choice.urls.empty() && choice.prefixes.empty() && choice.tags.empty() && !choice.all) {
            fmt::print(stderr, "ladle: purge what? A URL, --prefix, --tag or --all\n");
            return 2;
        }
        return purge(line.options, choice);
    });
    purge_command->add_option("URL", line.purged.urls, "such as http://example.com/path?query, with all its variants");
    purge_command->add_option("--prefix", line.purged.prefixes, "every URL that begins so")->allow_extra_args(false);
    purge_command->add_option("--tag", line.purged.tags, "every response with this word in Surrogate-Key or Cache-Tag")
        ->allow_extra_args(false);
    purge_command->add_flag("--all", line.purged.all, "everything");
    purge_command->add_flag("--soft", line.purged.soft,
                            "make them stale instead: validated before the next use, or used where stale ones may be");
    CLI::App* cache_command = line.add("cache", "List what the cache holds, or show all it knows of one URL.", [&line] {
        const Format format = line.as_json ? Format::json : Format::text;
        return line.checks_cache ? check_cache(line.options, format) : show_cache(line.options, line.shown, format);
    });
    CLI::Option* url = cache_command->add_option("URL", line.shown.url, "the one to show");
    CLI::Option* prefix = cache_command->add_option("--prefix", line.shown.prefix, "only URLs that begin so");
    cache_command->add_option("--limit", line.shown.limit, "how many at most")->check(CLI::Range(1, 10'000))->capture_default_str();
    cache_command->add_flag("--check", line.checks_cache, "walk all of its memory and say what is broken; fails if something is")
        ->excludes(url, prefix);
    cache_command->add_flag("--json", line.as_json, "for programs");
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
    CLI::App* demo_command = line.add("demo", "Try Ladle: a proxy with two servers and a configuration of its own, until Ctrl-C.",
                                      [&line] { return run_demo(line.demo, line.options); });
    demo_command->add_option("--port", line.demo.port, "where it listens on 127.0.0.1 (8080, or a free one)")
        ->check(CLI::Range(0, 65535));
    line.add("version", "Show the version.", [] {
        fmt::print("ladle {}\n", LADLE_VERSION);
        return 0;
    });
    CLI::App* help_command =
        line.add("help", "Show the commands, or what one of them does and takes.", [&line] { return help(line); });
    help_command->add_option("COMMAND", line.helped_command, "the command to explain");
    CLI::App* handover_command = line.app.add_subcommand("check-handover", "")->group("");
    handover_command->add_option("FD", line.descriptor)->required();
    handover_command->callback([&line] { line.chosen = [&line] { return check_handover(line.descriptor); }; });
}

/// Says what is wrong with the command line; a word that is no command, or no option, gets the one that was meant.
int complain_of_usage(const CommandLine& line, const CLI::ParseError& error)
{
    if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError)) {
        return line.app.exit(error) == 0 ? 0 : 2;
    }
    const std::vector<CLI::App*> commands = line.app.get_subcommands();
    const CLI::App& owner = line.app.remaining().empty() && !commands.empty() ? *commands.front() : line.app;
    const std::vector<std::string> left = owner.remaining();
    if (!left.empty() && left.front().starts_with('-')) {
        return complain_of_option(owner, left.front());
    }
    if (!left.empty() && commands.empty()) {
        return complain_of_command(line.app, left.front());
    }
    line.app.exit(error);
    return 2;
}

} // namespace

int run_cli(int argc, char** argv, const Roles& roles)
{
    ::signal(SIGCHLD, SIG_DFL); // whoever called may have it ignored, and then nobody's end would be seen
    CommandLine line;
    line.options.roles = roles;
    const std::string called = argc > 0 ? argv[0] : "ladle";
    line.options.binary_path = find_binary(called);
    line.options.shell_name = called.find('/') == std::string::npos ? called : line.options.binary_path;
    line.app.require_subcommand(0, 1);
    line.app.set_version_flag("--version", "ladle " LADLE_VERSION);
    line.app.add_option("-c,--config", line.options.config_path, "the configuration file")
        ->type_name("FILE")
        ->capture_default_str();
    add_life_commands(line);
    add_running_commands(line);
    add_upstream_command(line);
    add_cache_commands(line);
    add_other_commands(line);
    try {
        line.app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return complain_of_usage(line, error);
    }
    if (!line.chosen) {
        fmt::print(stderr, "{}", line.app.help());
        return 2;
    }
    os::keep_title_space(argc, argv);
    const auto has_config = [](const CLI::App& app) {
        const CLI::Option* option = app.get_option_no_throw("--config"); // a hidden command has none
        return option != nullptr && option->count() > 0;
    };
    const std::vector<CLI::App*> commands = line.app.get_subcommands();
    line.options.has_config_option = has_config(line.app) || (!commands.empty() && has_config(*commands.front()));
    line.options.config_path = std::filesystem::absolute(line.options.config_path).lexically_normal().string();
    return line.chosen();
}

} // namespace ladle::master::cli
