// SPDX-License-Identifier: Apache-2.0
//
// How the commands of the CLI reach the running master, and what they say where that fails. Standard output takes what was asked
// for, standard error everything else. Runs in the user's process.
#pragma once

#include "common/base/error.h"
#include "common/base/json.h"
#include "common/os/fd.h"
#include "master/cli/commands.h"

#include <optional>
#include <string>

namespace ladle::master::cli {

/// Prints a line on standard error; returns the exit code 1.
int complain(const std::string& line);

/// A connection to the master that runs with this file.
Result<os::Fd> connect_master(const CommandOptions& options);

/// Asks the running master; the reason where nobody answers.
std::optional<std::string> ask_master(const CommandOptions& options, const nlohmann::json& request, nlohmann::json& answer);

/// Asks, and prints the master's message. Returns the exit code.
int order(const CommandOptions& options, const nlohmann::json& request);

/// Two files may name one control socket. Where the running master's is not the one that was meant: a line that says so.
std::optional<std::string> other_file(const CommandOptions& options, const nlohmann::json& status);

/// The state of the running master, with a warning where it runs with another file; empty where nobody answers.
nlohmann::json look_at_master(const CommandOptions& options);

} // namespace ladle::master::cli
