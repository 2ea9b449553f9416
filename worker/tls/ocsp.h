// SPDX-License-Identifier: Apache-2.0
//
// OCSP (RFC 6960): what is asked of a certificate's CA, the question over HTTP, and what its answer is worth. OpenSSL does all of
// it: the request, HTTP/1.0 on a socket that does not block, the signatures. In the caretaker; workers need staple_key() alone.
#pragma once

#include "common/config/config.h"
#include "common/os/fd.h"
#include "common/shm/staples.h"
#include "worker/tls/library.h"

#include <openssl/http.h>
#include <openssl/ocsp.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ladle::worker {

/// Where the table of staples has a certificate's.
shm::StapleKey staple_key(const X509* certificate) noexcept;

struct OcspRelease {
    void operator()(OCSP_REQUEST* request) const noexcept { OCSP_REQUEST_free(request); }
    void operator()(OCSP_RESPONSE* response) const noexcept { OCSP_RESPONSE_free(response); }
    void operator()(OCSP_BASICRESP* basic) const noexcept { OCSP_BASICRESP_free(basic); }
    void operator()(OCSP_CERTID* id) const noexcept { OCSP_CERTID_free(id); }
    void operator()(OSSL_HTTP_REQ_CTX* exchange) const noexcept { OSSL_HTTP_REQ_CTX_free(exchange); }
};
using OcspResponsePtr = std::unique_ptr<OCSP_RESPONSE, OcspRelease>;

/// Where a certificate's CA is asked about it.
struct OcspResponder {
    std::string host; ///< a name, or an address without brackets
    std::string port;
    std::string path; ///< "/ocsp"
};

struct OcspVerdict {
    enum class Status : std::uint8_t {
        good,    ///< `answer` may be shown
        revoked,
        useless, ///< unknown to the responder, not to be verified, outdated: see `why`
    } status = Status::useless;
    std::string why;                 ///< for people
    std::vector<std::uint8_t> answer; ///< DER
    std::uint64_t good_until_s = 0;   ///< CLOCK_REALTIME
};

/// One certificate that can be asked about.
class OcspSubject {
public:
    /// Nullopt: there is nobody to ask, or the issuer's certificate, which it takes, is not in the chain.
    static std::optional<OcspSubject> of(const config::Certificate& certificate);

    const shm::StapleKey& key() const noexcept { return key_; }
    /// Its subject, for people.
    std::string name() const;
    const OcspResponder& responder() const noexcept { return responder_; }
    /// Null where there is no memory.
    std::unique_ptr<OCSP_REQUEST, OcspRelease> make_request() const;
    /// What the answer is worth now: it is about this certificate, in date, and signed by its issuer or whom that has authorised.
    OcspVerdict judge(OCSP_RESPONSE& response) const;

private:
    OcspVerdict judge_signed(OCSP_RESPONSE& response, OCSP_BASICRESP& basic) const;
    std::unique_ptr<OCSP_CERTID, OcspRelease> id() const;

    shm::StapleKey key_{};
    OcspResponder responder_;
    CertificatePtr leaf_;
    CertificatePtr issuer_;
};

/// One question on one connection. step() whenever the socket has news.
class OcspExchange {
public:
    static constexpr std::size_t kMostBytes = 64 << 10; ///< of an answer

    enum class State : std::uint8_t { under_way, answered, failed };

    /// `socket` is connected, or about to be. Null where there is no memory.
    static std::unique_ptr<OcspExchange> make(os::Fd socket, const OcspResponder& responder, OCSP_REQUEST& request);
    State step();
    int descriptor() const noexcept { return socket_.get(); }
    /// Once, after `answered`.
    OcspResponsePtr take_answer() noexcept { return std::move(answer_); }
    /// After `failed`: why, for people.
    const std::string& failure() const noexcept { return failure_; }

private:
    OcspExchange() = default;

    os::Fd socket_;
    BioPtr bio_;
    std::unique_ptr<OSSL_HTTP_REQ_CTX, OcspRelease> http_;
    OcspResponsePtr answer_;
    std::string failure_;
};

} // namespace ladle::worker
