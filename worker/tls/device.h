// SPDX-License-Identifier: Apache-2.0
//
// Private keys that lie in a device (HSM, smart card) and cannot be copied: the handshake's signature is made there. A device needs
// milliseconds, or a second, and its library blocks; so a process of its own speaks to it (signer.h), and the handshake waits in an
// ASYNC job of OpenSSL while the loop goes on. A process, and not threads: what a vendor's library does (crash, hang, keep secrets)
// it does outside of the worker, and it can be killed. Keys are told from others by the methods of an RSA or EC_KEY, as engines
// do it: OpenSSL 3.0 takes a provider of our own for that too, at five times the code.
//
// One for each TlsAcceptor that has such keys; its signer is started by the first signature, and again after a failure, but
// not within a second of it. What fails is counted, logged, and ends that handshake alone.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/os/fd.h"
#include "common/shm/rows.h"
#include "worker/tls/handshake_job.h"
#include "worker/tls/library.h"
#include "worker/tls/signer_wire.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::worker {

class KeyDevice {
public:
    /// `settings` and `row` outlive it.
    KeyDevice(const config::KeyDevice& settings, shm::ProcessRow& row) noexcept : settings_(settings), row_(row) {}
    ~KeyDevice();
    KeyDevice(const KeyDevice&) = delete;
    KeyDevice& operator=(const KeyDevice&) = delete;

    /// A key with the certificate's public half, which signs by the device's key of that URI; null for kinds other than RSA and EC.
    /// Used in handshakes that have a job, and while this lives.
    KeyPtr make_key(const X509& certificate, std::string_view uri);

    /// One signature, waited for in the running handshake's job. False = there is none, the job's `failure` says so.
    bool sign(const std::string& uri, SignAlgorithm algorithm, std::string_view bytes, std::string& signature);

    /// What a key's methods find by it.
    struct Key {
        KeyDevice& device;
        std::string uri;
    };

private:
    /// In the frame of a job that waits.
    struct Waiting {
        HandshakeJob& job;
        bool is_answered = false;
        bool is_made = false;
        std::string signature{};
    };

    bool start(loop::Loop& loop);
    bool send_request(std::uint64_t number, const std::string& uri, SignAlgorithm algorithm, std::string_view bytes);
    bool await(HandshakeJob& job, std::uint64_t number, std::string& signature);
    static void on_answers(void* self, loop::Ready);
    static void on_patience_over(void* self);
    void take(std::string_view answer);
    void lose_signer();
    std::string pin() const;

    const config::KeyDevice& settings_;
    shm::ProcessRow& row_;
    std::map<std::string, Key, std::less<>> keys_; ///< by URI
    os::Fd channel_;                               ///< -1 = there is no signer
    os::Fd process_;                               ///< its pidfd
    loop::Watch watch_;
    std::optional<loop::Deadline> patience_; ///< with the oldest request
    std::map<std::uint64_t, Waiting*> waiting_;
    std::uint64_t last_number_ = 0;
    loop::Nanos not_before_ = 0;  ///< of the next start
    bool has_complained_ = false; ///< about this signer's end
};

} // namespace ladle::worker
