// SPDX-License-Identifier: Apache-2.0
//
// A small file of the master's own that outlives it, beside the control socket: what the operator has ordered. Written whole and
// renamed into place, so that a crash leaves the old one or the new one.
#pragma once

#include <optional>
#include <string>

namespace ladle::master {

/// The text, where the file is there, is ours and is not too large; else nothing, with a warning in the log that names `what` where
/// it is there.
std::optional<std::string> read_kept_file(const std::string& path, const char* what);
/// False with errno.
bool write_kept_file(const std::string& path, const std::string& text);

} // namespace ladle::master
