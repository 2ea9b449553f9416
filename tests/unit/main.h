// SPDX-License-Identifier: Apache-2.0
// What the unit tests' main has set up for all of them.
#pragma once

namespace ladle::test {

/// Whether OpenSSL's memory comes from us, as in the program (worker/tls/memory.h).
extern bool has_slots_for_tls;

} // namespace ladle::test
