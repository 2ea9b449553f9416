// SPDX-License-Identifier: Apache-2.0
//
// The signer: a small process beside a worker, started by it (device.h) when a client first asks for a certificate whose key lies
// in a device. It alone loads the vendor's module, through an OpenSSL engine, and makes one signature after the other: a device
// that takes its time, hangs or takes its process down with it does so here. It runs as its worker does, speaks signer_wire.h and
// ends with its worker, or after a failure: the next one begins anew, without what the module remembers of a device that has gone.
#pragma once

namespace ladle::worker {

/// argv[1] of a process that is to be a signer.
inline constexpr const char* kSignerArgument = "--signer";

/// The process's whole life; its exit status.
int run_signer();

} // namespace ladle::worker
