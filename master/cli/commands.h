// SPDX-License-Identifier: Apache-2.0
//
// What each command of the CLI does, after its options were read (cli.cc). Runs in the user's process; `run`, `start` and `demo`
// become a master in it or in a child of it. Each returns the exit code: 0 done, 1 not done and said why on standard error.
#pragma once

#include "master/child.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ladle::master::cli {

enum class Format : std::uint8_t { text, json };
enum class When : std::uint8_t { drained, now };

struct CommandOptions {
    std::string config_path = "/etc/ladle/ladle.toml"; ///< made absolute by run_cli()
    std::string binary_path;                           ///< of this program, absolute
    std::string shell_name;                            ///< what a shell finds this program by: as it was called, or its path
    bool has_config_option = false;                    ///< config_path was given, and is not the default
    Roles roles;
    int handover = -1;
};

int start(const CommandOptions& options);
int stop(const CommandOptions& options, When when);
int restart(const CommandOptions& options);
int run(const CommandOptions& options);
int reload(const CommandOptions& options);
int upgrade(const CommandOptions& options);
int reopen(const CommandOptions& options);
int status(const CommandOptions& options, Format format);
int check(const CommandOptions& options, Format format);

/// An order about one server, or an upstream's breaker.
struct ServerChoice {
    std::string upstream;
    std::string kind;   ///< "server" or "breaker"
    std::string server; ///< of "breaker": what to do with it
    std::string action; ///< of "server"
    std::optional<std::uint32_t> weight;   ///< of "weight", where it must be, and of "add"
    std::optional<std::uint32_t> max_conn; ///< of "add"
    bool is_backup = false;                ///< likewise
};
int order_server(const CommandOptions& options, const ServerChoice& choice);

/// What to purge; at least one of them.
struct PurgeChoice {
    std::vector<std::string> urls;
    std::vector<std::string> prefixes;
    std::vector<std::string> tags;
    bool all = false;
    bool soft = false; ///< stale instead of gone
};
int purge(const CommandOptions& options, const PurgeChoice& choice);

/// What to show of the cache: one URL, or a list.
struct CacheChoice {
    std::string url;
    std::string prefix;
    std::uint64_t limit = 100;
};
int show_cache(const CommandOptions& options, const CacheChoice& choice, Format format);
/// Prints what is broken in the cache's memory; 1 where something is, or bytes are lost.
int check_cache(const CommandOptions& options, Format format);

/// The request to explain.
struct ExplainChoice {
    std::string method;
    std::string url;
    std::string client;
    std::vector<std::string> headers; ///< "Name: value"
};
int explain(const CommandOptions& options, const ExplainChoice& choice, Format format);
int print_schema();
int check_handover(int descriptor);

} // namespace ladle::master::cli
