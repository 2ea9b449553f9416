// SPDX-License-Identifier: Apache-2.0
// What a client sends first where TLS is spoken, through the set-up that workers have: a site by SNI, ALPN, versions, early data,
// client certificates. Nobody gets through the handshake with words that were not meant for it, whatever is answered is a
// TLS record, and where the bytes are cut does not change the outcome.
//
//   input: mode, cut, bytes      mode & 1: the bytes are the body of a ClientHello, else whatever comes first on the connection
//                                mode & 2: the early data of a client that comes back: read as it was sent, and it shakes hands
#include "tests/fuzz/stage.h"
#include "worker/route/router.h"
#include "worker/tls/acceptor.h"

#include <openssl/pem.h>

#include <algorithm>
#include <vector>

using namespace ladle;
using namespace ladle::worker;

namespace {

constexpr const char* kSites = R"~(
[tls]
early_data = true
[upstream.app]
servers = ["127.0.0.1:1"]
[site."first.test"]
upstream = "app"
listen = "https://127.0.0.1:443"
tls = { cert = "ec.pem", key = "file:ec.key" }
[site."*.example.com"]
upstream = "app"
listen = "https://127.0.0.1:443"
tls = { cert = ["ec.pem", "rsa.pem"], key = ["file:ec.key", "file:rsa.key"], policy = "modern" }
[site."shown.example.com"]
upstream = "app"
listen = "https://127.0.0.1:443"
tls = { cert = "rsa.pem", key = "file:rsa.key", client = "ec.pem" }
)~";

template <typename Write>
std::string written(Write write)
{
    const BioPtr bio(BIO_new(BIO_s_mem()));
    write(bio.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &bytes);
    return {bytes, static_cast<std::size_t>(size)};
}

void add_pair(std::map<std::string, std::string>& files, const std::string& name, EVP_PKEY* made)
{
    const KeyPtr key(made);
    const CertificatePtr certificate(X509_new());
    X509_set_version(certificate.get(), 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("fuzz"), -1, -1, 0);
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
    X509_set_pubkey(certificate.get(), key.get());
    X509_sign(certificate.get(), key.get(), EVP_sha256());
    files[name + ".pem"] = written([&](BIO* to) { PEM_write_bio_X509(to, certificate.get()); });
    files[name + ".key"] =
        written([&](BIO* to) { PEM_write_bio_PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

struct Scene : Stage {
    std::shared_ptr<const config::Config> config = [] {
        std::map<std::string, std::string> files;
        add_pair(files, "ec", EVP_EC_gen("P-256"));
        add_pair(files, "rsa", EVP_RSA_gen(2048));
        return load_good(kSites, files);
    }();
    Router router{*config};
    std::unique_ptr<TlsAcceptor> acceptor;
    Scene()
    {
        arena.regions().header.created_ns = 1; // a table that is old enough to take early data
        REQUIRE(shm::tend_ticket_keys(arena.regions().tickets, 1, 1));
        acceptor = std::move(*TlsAcceptor::make(*config, router, arena.regions(), row()));
    }
};

struct Outcome {
    Handshake state = Handshake::under_way;
    HandshakeFailure kind = HandshakeFailure::left;
    bool operator==(const Outcome&) const = default;
};

Outcome shake_hands(Scene& scene, const std::vector<std::string_view>& pieces)
{
    Ends ends;
    Socket socket;
    REQUIRE(socket.start(*scene.loop, std::move(ends.worker), AF_UNIX, nullptr));
    socket.encrypt(scene.acceptor->accept(*scene.loop, socket, 0));
    Outcome outcome;
    for (const std::string_view piece : pieces) {
        ends.send(piece);
        scene.run(2);
        if (outcome.state == Handshake::under_way && !piece.empty()) {
            outcome.state = socket.shake_hands();
        }
    }
    if (outcome.state == Handshake::failed) {
        outcome.kind = socket.encryption()->failure_kind();
        REQUIRE(outcome.kind != HandshakeFailure::local);
    }
    REQUIRE(outcome.state != Handshake::done && outcome.state != Handshake::early);
    std::string answer;
    ends.receive(answer);
    for (std::size_t at = 0; at < answer.size();) { // whole records; their version may be what the client made up
        REQUIRE(answer.size() - at > 5 && answer[at] >= 20 && answer[at] <= 23);
        at += 5u + static_cast<unsigned char>(answer[at + 3]) * 256u + static_cast<unsigned char>(answer[at + 4]);
        REQUIRE(at <= answer.size());
    }
    return outcome;
}

/// An OpenSSL client on a connection to the worker's side.
struct Client {
    Client(Scene& scene, SSL_SESSION* resumed) : scene_(scene)
    {
        static const SslSettingsPtr settings(SSL_CTX_new(TLS_client_method()));
        ssl.reset(SSL_new(settings.get()));
        SSL_set_tlsext_host_name(ssl.get(), "first.test");
        SSL_set_bio(ssl.get(), in_, out_);
        SSL_set_connect_state(ssl.get());
        REQUIRE(resumed == nullptr || SSL_set_session(ssl.get(), resumed) == 1);
        REQUIRE(socket.start(*scene.loop, std::move(ends_.worker), AF_UNIX, nullptr));
        socket.encrypt(scene.acceptor->accept(*scene.loop, socket, 0));
    }
    ~Client() { SSL_set_shutdown(ssl.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); } // else its session counts as failed
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    void pass_on()
    {
        char part[16384];
        for (int n = 0; (n = BIO_read(out_, part, sizeof part)) > 0;) {
            ends_.send({part, static_cast<std::size_t>(n)});
        }
        std::string answer;
        ends_.receive(answer);
        BIO_write(in_, answer.data(), static_cast<int>(answer.size()));
        scene_.run(2);
    }

    SslPtr ssl;
    Socket socket;

private:
    Scene& scene_;
    Ends ends_;
    BIO* in_ = BIO_new(BIO_s_mem());
    BIO* out_ = BIO_new(BIO_s_mem());
};

/// A session with a ticket that allows early data.
SessionPtr first_visit(Scene& scene)
{
    Client client(scene, nullptr);
    for (int round = 0; round < 4; ++round) {
        SSL_do_handshake(client.ssl.get());
        client.pass_on();
        client.socket.shake_hands();
    }
    char byte = 0;
    std::size_t n = 0;
    client.socket.read(&byte, 1); // the tickets are sent with the first answer, or before waiting for more
    client.pass_on();
    SSL_read_ex(client.ssl.get(), &byte, 1, &n);
    SessionPtr session(SSL_get1_session(client.ssl.get()));
    REQUIRE(SSL_SESSION_get_max_early_data(session.get()) > 0);
    return session;
}

void come_back(Scene& scene, std::string_view text, std::size_t cut)
{
    static const SessionPtr session = first_visit(scene);
    Client client(scene, session.get());
    Handshake state = Handshake::under_way;
    std::string read;
    const auto read_on = [&] {
        char part[512];
        for (Io io{IoState::done, 0, 0}; io.state == IoState::done; read.append(part, io.bytes)) {
            io = client.socket.read(part, sizeof part);
            REQUIRE(io.state == IoState::done || io.state == IoState::would_block);
            io.bytes = io.state == IoState::done ? io.bytes : 0;
        }
    };
    for (const std::string_view piece : {text.substr(0, cut), text.substr(cut)}) {
        std::size_t n = 0;
        REQUIRE(piece.empty() || SSL_write_early_data(client.ssl.get(), piece.data(), piece.size(), &n) == 1);
        client.pass_on();
        if (state == Handshake::under_way) {
            state = client.socket.shake_hands();
            REQUIRE(state == Handshake::early || state == Handshake::under_way);
        }
        if (state == Handshake::early) {
            read_on();
        }
    }
    for (int round = 0; round < 4; ++round) {
        SSL_do_handshake(client.ssl.get());
        client.pass_on();
        if (state == Handshake::under_way) {
            state = client.socket.shake_hands();
        }
        if (state != Handshake::under_way) {
            read_on();
        }
    }
    REQUIRE(SSL_is_init_finished(client.ssl.get()) == 1 && SSL_session_reused(client.ssl.get()) == 1);
    REQUIRE(!client.socket.encryption()->facts().is_early);
    const bool is_taken = SSL_get_early_data_status(client.ssl.get()) == SSL_EARLY_DATA_ACCEPTED;
    REQUIRE(read == (is_taken ? text : std::string_view{})); // not taken: too many were in the last seconds
}

/// As a handshake message in records of its own.
std::string as_hello(std::string_view body)
{
    const auto size = [](std::size_t n, int bytes) {
        std::string text;
        for (int at = bytes - 1; at >= 0; --at) {
            text += static_cast<char>(n >> (8 * at));
        }
        return text;
    };
    const std::string message = "\x01" + size(body.size(), 3) + std::string(body);
    return "\x16\x03\x01" + size(message.size(), 2) + message; // at most 8 KiB: one record
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    static Scene scene;
    const auto input = CutInput::read(bytes, size);
    if (!input) {
        return 0;
    }
    if ((input->mode & 2) != 0) {
        come_back(scene, input->bytes, std::min(input->bytes.size(), input->cut));
        return 0;
    }
    const std::string first = (input->mode & 1) != 0 ? as_hello(input->bytes) : std::string(input->bytes);
    const std::string_view text = first;
    const Outcome whole = shake_hands(scene, {text});
    if (input->cut != 0) {
        const std::size_t cut = std::min(text.size(), input->cut * 2);
        REQUIRE(shake_hands(scene, {text.substr(0, cut), text.substr(cut)}) == whole);
    }
    return 0;
}
