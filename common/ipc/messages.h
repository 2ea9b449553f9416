// SPDX-License-Identifier: Apache-2.0
//
// Every message between the master and its children after the fork. One SOCK_SEQPACKET datagram each: the fixed struct Message,
// then text_bytes of text, then descriptors as SCM_RIGHTS. Our own process sent it: a malformed one is a bug (LADLE_ASSERT).
//
// A reload: master sends listener (once per new address), prepare_config(generation, bundle fd) to every worker; each answers
// prepared or refused(text); when all have prepared, commit_config(generation) (each swaps one pointer, leaves removed listeners,
// answers committed), else abort_config(generation).
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"

#include <cstdint>
#include <string>
#include <vector>

namespace ladle::ipc {

enum class MessageType : std::uint32_t {
    // master to child
    listener, ///< text = address, descriptors = slots. number 0: of a new address, which the next committed configuration names;
              ///< 1: further ones of an address in use, to be joined now
    prepare_config, ///< generation, descriptor = bundle
    commit_config,  ///< generation
    abort_config,   ///< generation
    join_siblings,  ///< all of your generation are READY: take the siblings' slots too
    new_logs,       ///< descriptors = access log, error log (see number: bit 0 = access given, 1 = error given); not given = off
    drain,          ///< number = milliseconds, generation = DrainRest: leave the listeners, finish requests, exit
    stop,           ///< exit now
    explain,        ///< number = which question, text = it (explanation.h)
    // child to master
    ready,         ///< own slot registered
    prepared,      ///< generation
    refused,       ///< generation, text = why
    committed,     ///< generation
    listener_left, ///< text = a removed address that this worker no longer accepts on
    explained,     ///< number = which question, text = the answer
};

/// What a draining worker does with connections that still wait in the queues.
enum class DrainRest : std::uint64_t {
    leave_to_siblings, ///< others serve the sockets
    accept,            ///< nobody does: take them first
};

struct Message {
    MessageType type{};
    std::uint64_t generation = 0;
    std::uint64_t number = 0;
    std::string text;
    std::vector<os::Fd> descriptors;
};

/// Sends one message; blocks only if the peer's buffer is full. Fails when the peer is gone. At most 250 descriptors.
Result<void> send(int channel, const Message& message);
/// Of send: the process at the other end has died, which the reap is about to tell.
bool is_peer_dead(const Error& error) noexcept;

/// Receives one message without blocking. `code` EAGAIN = none waiting; EPIPE = the peer is gone.
Result<Message> receive(int channel);

} // namespace ladle::ipc
