// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/ocsp.h"

#include "worker/tls/certificates.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

namespace ladle::worker {

namespace {

constexpr long kClockSkew = 300;           // seconds that the responder's clock may be ahead
constexpr std::uint64_t kWithoutEnd = 3600; // an answer that does not say until when it is good (RFC 6960 §4.2.2.1) is for so long
constexpr int kLineBytes = 4096;            // of HTTP

struct Release {
    void operator()(char* text) const noexcept { OPENSSL_free(text); }
    void operator()(STACK_OF(OPENSSL_STRING) * urls) const noexcept { X509_email_free(urls); }
};
using Text = std::unique_ptr<char, Release>;

/// The first http:// one that the certificate names (RFC 5280 §4.2.2.1). Those over TLS would have to be asked about in turn.
std::optional<OcspResponder> responder_of(X509* certificate)
{
    const std::unique_ptr<STACK_OF(OPENSSL_STRING), Release> urls(X509_get1_ocsp(certificate));
    for (int at = 0; urls && at < sk_OPENSSL_STRING_num(urls.get()); ++at) {
        int is_tls = 0;
        char* host = nullptr;
        char* port = nullptr;
        char* path = nullptr;
        const int parsed = OSSL_HTTP_parse_url(sk_OPENSSL_STRING_value(urls.get(), at), &is_tls, nullptr, &host, &port, nullptr,
                                               &path, nullptr, nullptr);
        const Text own_host(host);
        const Text own_port(port);
        const Text own_path(path);
        if (parsed == 1 && is_tls == 0) {
            std::string bare = host;
            if (bare.starts_with('[') && bare.ends_with(']')) {
                bare = bare.substr(1, bare.size() - 2);
            }
            return OcspResponder{std::move(bare), port, path};
        }
    }
    ERR_clear_error();
    return std::nullopt;
}

std::uint64_t seconds_of(const ASN1_GENERALIZEDTIME* time)
{
    tm parts{};
    return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<std::uint64_t>(std::max<std::time_t>(::timegm(&parts), 0)) : 0;
}

OcspVerdict useless(std::string why)
{
    OcspVerdict verdict;
    verdict.why = std::move(why);
    return verdict;
}

} // namespace

shm::StapleKey staple_key(const X509* certificate) noexcept
{
    shm::StapleKey key{};
    unsigned size = 0;
    X509_digest(certificate, EVP_sha256(), key.data(), &size);
    return key;
}

std::optional<OcspSubject> OcspSubject::of(const config::Certificate& certificate)
{
    ParsedChain chain = parse_chain(certificate.chain.text);
    if (!chain.leaf || !chain.issuers) {
        return std::nullopt;
    }
    std::optional<OcspResponder> responder = responder_of(chain.leaf.get());
    if (!responder) {
        return std::nullopt;
    }
    for (int at = 0; at < sk_X509_num(chain.issuers.get()); ++at) {
        X509* issuer = sk_X509_value(chain.issuers.get(), at);
        if (X509_check_issued(issuer, chain.leaf.get()) == X509_V_OK) {
            X509_up_ref(issuer);
            OcspSubject subject;
            subject.key_ = staple_key(chain.leaf.get());
            subject.responder_ = std::move(*responder);
            subject.leaf_ = std::move(chain.leaf);
            subject.issuer_.reset(issuer);
            return subject;
        }
    }
    return std::nullopt;
}

std::string OcspSubject::name() const
{
    char text[256] = "";
    X509_NAME_oneline(X509_get_subject_name(leaf_.get()), text, sizeof text);
    return text;
}

std::unique_ptr<OCSP_CERTID, OcspRelease> OcspSubject::id() const
{
    // SHA-1 only names the issuer here, and is what every responder knows (RFC 5019 §2.1.1).
    return std::unique_ptr<OCSP_CERTID, OcspRelease>(OCSP_cert_to_id(EVP_sha1(), leaf_.get(), issuer_.get()));
}

std::unique_ptr<OCSP_REQUEST, OcspRelease> OcspSubject::make_request() const
{
    std::unique_ptr<OCSP_REQUEST, OcspRelease> request(OCSP_REQUEST_new());
    auto own = id();
    if (!request || !own || OCSP_request_add0_id(request.get(), own.get()) == nullptr) {
        return nullptr;
    }
    std::ignore = own.release();
    return request; // without a nonce: clients are shown the answer, and responders may make it in advance
}

OcspVerdict OcspSubject::judge(OCSP_RESPONSE& response) const
{
    if (const int status = OCSP_response_status(&response); status != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        return useless(std::string("the responder says: ") + OCSP_response_status_str(status));
    }
    const std::unique_ptr<OCSP_BASICRESP, OcspRelease> basic(OCSP_response_get1_basic(&response));
    const StorePtr believed(X509_STORE_new());
    const ChainPtr signers(sk_X509_new_null());
    if (!basic || !believed || !signers) {
        return useless(std::string(take_tls_error()));
    }
    X509_STORE_add_cert(believed.get(), issuer_.get());
    X509_STORE_set_flags(believed.get(), X509_V_FLAG_PARTIAL_CHAIN); // the issuer need not be a root
    X509_up_ref(issuer_.get());
    if (sk_X509_push(signers.get(), issuer_.get()) <= 0) {
        X509_free(issuer_.get());
    }
    if (OCSP_basic_verify(basic.get(), signers.get(), believed.get(), 0) != 1) {
        return useless("its signature is not good: " + std::string(take_tls_error()));
    }
    return judge_signed(response, *basic);
}

OcspVerdict OcspSubject::judge_signed(OCSP_RESPONSE& response, OCSP_BASICRESP& basic) const
{
    const auto own = id();
    int status = V_OCSP_CERTSTATUS_UNKNOWN;
    int reason = 0;
    ASN1_GENERALIZEDTIME* from = nullptr;
    ASN1_GENERALIZEDTIME* until = nullptr;
    if (!own || OCSP_resp_find_status(&basic, own.get(), &status, &reason, nullptr, &from, &until) != 1) {
        return useless("it is about another certificate");
    }
    if (OCSP_check_validity(from, until, kClockSkew, -1) != 1) {
        return useless("it is not valid now: " + std::string(take_tls_error()));
    }
    if (status == V_OCSP_CERTSTATUS_REVOKED) {
        OcspVerdict verdict = useless("the certificate has been revoked");
        verdict.status = OcspVerdict::Status::revoked;
        return verdict;
    }
    if (status != V_OCSP_CERTSTATUS_GOOD) {
        return useless("the responder does not know the certificate");
    }
    OcspVerdict verdict;
    unsigned char* bytes = nullptr;
    const int size = i2d_OCSP_RESPONSE(&response, &bytes);
    if (size <= 0) {
        return useless(std::string(take_tls_error()));
    }
    verdict.answer.assign(bytes, bytes + size);
    OPENSSL_free(bytes);
    verdict.status = OcspVerdict::Status::good;
    verdict.good_until_s =
        until != nullptr ? seconds_of(until) : static_cast<std::uint64_t>(std::time(nullptr)) + kWithoutEnd;
    return verdict;
}

std::unique_ptr<OcspExchange> OcspExchange::make(os::Fd socket, const OcspResponder& responder, OCSP_REQUEST& request)
{
    std::unique_ptr<OcspExchange> exchange(new OcspExchange);
    exchange->bio_.reset(BIO_new_socket(socket.get(), BIO_NOCLOSE));
    exchange->socket_ = std::move(socket);
    if (!exchange->bio_) {
        return nullptr;
    }
    BIO_set_nbio(exchange->bio_.get(), 1);
    exchange->http_.reset(OSSL_HTTP_REQ_CTX_new(exchange->bio_.get(), exchange->bio_.get(), kLineBytes));
    OSSL_HTTP_REQ_CTX* http = exchange->http_.get();
    const bool is_address = responder.host.find(':') != std::string::npos;
    const std::string host = (is_address ? "[" + responder.host + "]" : responder.host) + ":" + responder.port;
    if (http == nullptr || OSSL_HTTP_REQ_CTX_set_request_line(http, 1, nullptr, nullptr, responder.path.c_str()) != 1 ||
        OSSL_HTTP_REQ_CTX_add1_header(http, "Host", host.c_str()) != 1 ||
        OSSL_HTTP_REQ_CTX_set_expected(http, "application/ocsp-response", 1, 0, 0) != 1 ||
        OSSL_HTTP_REQ_CTX_set1_req(http, "application/ocsp-request", ASN1_ITEM_rptr(OCSP_REQUEST),
                                   reinterpret_cast<ASN1_VALUE*>(&request)) != 1) {
        return nullptr;
    }
    OSSL_HTTP_REQ_CTX_set_max_response_length(http, kMostBytes);
    return exchange;
}

OcspExchange::State OcspExchange::step()
{
    ERR_clear_error();
    ASN1_VALUE* value = nullptr;
    errno = 0;
    const int result = OSSL_HTTP_REQ_CTX_nbio_d2i(http_.get(), &value, ASN1_ITEM_rptr(OCSP_RESPONSE));
    if (result == -1) {
        return State::under_way;
    }
    answer_.reset(result == 1 ? reinterpret_cast<OCSP_RESPONSE*>(value) : nullptr);
    if (!answer_) {
        const int code = errno;
        failure_ = ERR_peek_last_error() != 0 ? std::string(take_tls_error()) : code != 0 ? std::strerror(code) : "no answer";
        return State::failed;
    }
    return State::answered;
}

} // namespace ladle::worker
