// SPDX-License-Identifier: Apache-2.0
//
// What the master tells systemd, and gets from it: readiness, reloads, the end; the watchdog; listening sockets in its
// descriptor store, so that a master started in place of a dead one gets them back with whatever waits in them. All of it does
// nothing where systemd did not start us.
#pragma once

#include "common/os/fd.h"

#include <chrono>
#include <string_view>
#include <vector>

namespace ladle::master::notify {

/// Whether systemd started this process as a service of Type=notify.
bool is_used();

void ready(std::string_view status);
void reloading();
void stopping(std::chrono::milliseconds limit);
void extend(std::chrono::milliseconds by);
void status(std::string_view text);
/// I am alive and so are my workers.
void keep_alive();
/// How often keep_alive() is due (half of WatchdogSec); 0 = never.
std::chrono::milliseconds watchdog_interval();

/// Keeps copies of listening sockets beyond our death.
void store(const std::vector<int>& sockets);
/// Gives all copies up: we end of our own will.
void drop_stored();

/// The listening sockets that systemd passed at start (socket activation, or stored ones), taken out of the environment.
std::vector<os::Fd> take_passed();

} // namespace ladle::master::notify
