// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

BioPtr open_text(std::string_view text)
{
    return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

} // namespace

ParsedChain parse_chain(std::string_view text)
{
    ParsedChain parsed;
    const BioPtr bio = open_text(text);
    if (bio) {
        parsed.leaf.reset(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    }
    while (parsed.leaf) {
        CertificatePtr issuer(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
        if (!issuer) {
            break;
        }
        if (!parsed.issuers) {
            parsed.issuers.reset(sk_X509_new_null());
        }
        if (parsed.issuers && sk_X509_push(parsed.issuers.get(), issuer.get()) > 0) {
            std::ignore = issuer.release();
        }
    }
    ERR_clear_error(); // the end of the text is one
    return parsed;
}

ParsedCertificate parse_certificate(const config::Certificate& certificate, KeyDevice* device)
{
    ParsedChain chain = parse_chain(certificate.chain.text);
    ParsedCertificate parsed;
    if (!certificate.is_in_device()) {
        const BioPtr key = open_text(certificate.key.text);
        parsed.key.reset(key ? PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr) : nullptr);
    } else if (chain.leaf && device != nullptr) {
        parsed.key = device->make_key(*chain.leaf, certificate.key.text);
    }
    if (parsed.key) {
        parsed.leaf = std::move(chain.leaf);
        parsed.issuers = std::move(chain.issuers);
    }
    ERR_clear_error();
    return parsed;
}

StorePtr parse_authorities(const config::SharedText& text, STACK_OF(X509_NAME) * names)
{
    StorePtr store(X509_STORE_new());
    const BioPtr bio = open_text(text.text);
    while (store && bio) {
        const CertificatePtr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
        if (!certificate) {
            break;
        }
        X509_STORE_add_cert(store.get(), certificate.get());
        X509_NAME* name = names != nullptr ? X509_NAME_dup(X509_get_subject_name(certificate.get())) : nullptr;
        if (name != nullptr && sk_X509_NAME_push(names, name) <= 0) {
            X509_NAME_free(name);
        }
    }
    ERR_clear_error(); // the end of the text is one
    return store;
}

void add_revoked(X509_STORE& store, const config::SharedText& text)
{
    const BioPtr bio = open_text(text.text);
    while (X509_CRL* list = bio ? PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr) : nullptr) {
        X509_STORE_add_crl(&store, list);
        X509_CRL_free(list);
    }
    X509_STORE_set_flags(&store, X509_V_FLAG_CRL_CHECK);
    ERR_clear_error();
}

const ParsedCertificate* CertificateStore::find(const config::Certificate& certificate)
{
    if (const auto known = places_.find(&certificate); known != places_.end()) {
        entries_.splice(entries_.begin(), entries_, known->second);
        return &entries_.front().parsed;
    }
    ParsedCertificate parsed = parse_certificate(certificate, device_);
    if (!parsed.leaf) {
        return nullptr;
    }
    if (entries_.size() == kMost) {
        places_.erase(entries_.back().of);
        entries_.pop_back();
    }
    entries_.push_front({&certificate, std::move(parsed)});
    places_[&certificate] = entries_.begin();
    return &entries_.front().parsed;
}

} // namespace ladle::worker
