// SPDX-License-Identifier: Apache-2.0
//
// Every metric, once: M(name, kind, help). A metric is one u64 in each process row (rows.h), written by that process alone with
// relaxed stores. Counters only grow (a dead process's counters go to the retired row); gauges are dropped with their process.
#pragma once

#include "common/shm/reasons_table.h"

#include <cstddef>
#include <cstdint>

#define LADLE_REASON_METRIC(M, name, text) M(ended_##name, counter, "requests that ended so: " text)

#define LADLE_METRICS(M) \
    M(connections_accepted, counter, "client connections accepted") \
    M(connections_open, gauge, "client connections open") \
    M(connections_idle, gauge, "client connections waiting for a request") \
    M(accept_paused, counter, "times a worker left its listeners because it was full or out of descriptors") \
    M(proxy_headers, counter, "client connections whose PROXY header was taken") \
    M(proxy_headers_refused, counter, "connections closed as the PROXY header was missing, malformed or late") \
    M(tls_handshakes, counter, "TLS handshakes with clients that were begun") \
    M(tls_resumed, counter, "TLS handshakes that resumed a session") \
    M(tls_1_2, counter, "TLS handshakes that ended in TLS 1.2") \
    M(tls_1_3, counter, "TLS handshakes that ended in TLS 1.3") \
    M(tls_failed, counter, "TLS handshakes that failed, for whichever of these reasons") \
    M(tls_failed_left, counter, "TLS handshakes that failed: the client left") \
    M(tls_failed_nothing_common, counter, "TLS handshakes that failed: no version, cipher, curve or protocol in common") \
    M(tls_failed_client_certificate, counter, "TLS handshakes that failed: the client showed no certificate, or a bad one") \
    M(tls_failed_refused, counter, "TLS handshakes that failed: the client refused, often as it does not believe our certificate") \
    M(tls_failed_malformed, counter, "TLS handshakes that failed: what came is no TLS, or against its rules") \
    M(tls_failed_local, counter, "TLS handshakes that failed on our side: no certificate that can be used, no memory") \
    M(tls_timeouts, counter, "TLS handshakes that took too long") \
    M(tls_stapled, counter, "TLS handshakes in which the client was shown that the certificate is not revoked (OCSP)") \
    M(tls_early_taken, counter, "TLS handshakes whose early data (0-RTT) was taken") \
    M(tls_early_refused, counter, "TLS handshakes whose early data was not: seen before, too old, switched off") \
    M(tls_early_waited, counter, "requests in early data that waited for the handshake's end: not safe, or a server said 425") \
    M(ocsp_fetched, counter, "answers of OCSP responders that were good") \
    M(ocsp_failed, counter, "questions to OCSP responders that brought nothing that can be shown") \
    M(tls_put_off, counter, "times a step of a handshake was put off to the loop's next turn, as there were many") \
    M(tls_floods, counter, "connections cut as their peer sent too many messages of TLS itself (KeyUpdate)") \
    M(tls_not_tls, counter, "connections that spoke plain HTTP where TLS is spoken") \
    M(tls_device_signatures, counter, "signatures made by a device that keeps a private key") \
    M(tls_device_failures, counter, "handshakes that failed as such a device made none") \
    M(requests, counter, "requests whose head was complete, or that were refused before") \
    M(requests_in_flight, gauge, "requests being answered") \
    M(responses_1xx, counter, "interim responses passed on") \
    M(responses_2xx, counter, "responses with status 200..299") \
    M(responses_3xx, counter, "responses with status 300..399") \
    M(responses_4xx, counter, "responses with status 400..499") \
    M(responses_5xx, counter, "responses with status 500..599") \
    M(responses_cut, counter, "responses that ended before their last byte") \
    M(requests_refused, counter, "requests refused by the parser or a limit") \
    M(tunnels, counter, "connections upgraded to another protocol") \
    M(tunnels_open, gauge, "tunnels open") \
    M(h2_connections, counter, "client connections that spoke HTTP/2") \
    M(h2_refused_streams, counter, "HTTP/2 requests refused as too many of their connection, or of their client, were in work") \
    M(h2_waits, counter, "HTTP/2 requests that had to wait, as those in work held what [budget] allows them") \
    M(h2_request_bytes, gauge, "memory that HTTP/2 requests hold, or are given, beside their bodies' spools") \
    M(h2_glitches, counter, "early resets, stream errors and odd control frames of HTTP/2 clients") \
    M(h2_strained, counter, "HTTP/2 clients told to go as three quarters of their glitches were used up") \
    M(h2_cut, counter, "HTTP/2 connections closed for an error or for abuse") \
    M(h2_slow, counter, "HTTP/2 streams and connections ended as their client let too little through") \
    M(bytes_from_clients, counter, "bytes received from clients") \
    M(bytes_to_clients, counter, "bytes sent to clients") \
    M(bytes_from_servers, counter, "bytes received from servers") \
    M(bytes_to_servers, counter, "bytes sent to servers") \
    M(server_connections_made, counter, "connections made to servers") \
    M(server_connections_reused, counter, "requests sent on a kept connection") \
    M(server_connections_open, gauge, "connections to servers, idle and busy") \
    M(server_connections_idle, gauge, "kept connections to servers") \
    M(server_connect_failures, counter, "connections to servers that failed or timed out") \
    M(server_bad_responses, counter, "answers of servers that were not valid HTTP") \
    M(server_retries, counter, "requests tried again on another connection") \
    M(server_retries_budgeted, counter, "requests sent again that a server may have had: they count against retry.budget") \
    M(server_retries_refused, counter, "requests not sent again, as retry.budget was used up") \
    M(server_hedges, counter, "requests sent to a second server as the first had not answered at the time that hedge says") \
    M(server_hedges_won, counter, "of those, requests that the second server has answered for") \
    M(server_hedges_refused, counter, "requests not sent to a second server, as hedge.budget was used up") \
    M(server_ejections, counter, "times a server was left alone for a while as requests to it failed, or were slow") \
    M(server_ejections_slow, counter, "of those, times it was as its answers took many times longer than those of the others") \
    M(server_panics, counter, "requests sent to a server that is out, as every other one is too") \
    M(server_checks, counter, "health checks that ended") \
    M(server_checks_failed, counter, "health checks that found a server out of order") \
    M(server_agent_checks, counter, "questions to agents of servers that ended") \
    M(server_agent_failed, counter, "questions to agents without an answer that is understood: they change nothing") \
    M(server_load_reports, counter, "responses in which a server said how loaded it is") \
    M(server_load_reports_bad, counter, "such reports that were not understood, or say nothing that a weight can be made of") \
    M(server_h2_connections, counter, "connections to servers that spoke HTTP/2") \
    M(server_h2_refused, counter, "requests that a server said it did not process (GOAWAY, REFUSED_STREAM)") \
    M(server_h2_resets, counter, "streams that a server reset for another reason before its response was complete") \
    M(server_h2_glitches, counter, "odd control frames and malformed streams of servers that speak HTTP/2") \
    M(server_h2_cut, counter, "HTTP/2 connections to servers that were closed for an error or for abuse, or as they were dead") \
    M(server_limits_raised, counter, "times the limit of a server that finds itself (adaptive) became higher") \
    M(server_limits_lowered, counter, "times such a limit became lower, as answers took longer") \
    M(server_limits_measured, counter, "times it was measured how long such a server's answers take without waiting") \
    M(server_queue, gauge, "requests waiting for a server below max_conn, or below the limit that adaptive has found") \
    M(server_queue_refused, counter, "requests refused because the queue was full or the wait too long") \
    M(breaker_opened, counter, "times the breaker of an upstream opened, as too many of its requests failed, or a trial did") \
    M(breaker_closed, counter, "times such a breaker closed, as its trials ended well") \
    M(breaker_refused, counter, "requests that were sent to no server, as the breaker was open or others were its trials") \
    M(breaker_trials, counter, "requests that were sent as trials of a half open breaker") \
    M(mirror_answered, counter, "copies of requests that a mirror has answered") \
    M(mirror_failed, counter, "copies of requests that a mirror did not answer: refused, reset, malformed, too slow") \
    M(mirror_skipped_busy, counter, "copies left out as [mirror] allows no more in work, or no more bytes of bodies") \
    M(mirror_skipped_body, counter, "copies left out as the request's body was passed on as it came, or waited on disk") \
    M(mirror_skipped_no_server, counter, "copies left out: the mirror had no server in order with room, or its breaker was open") \
    M(mirror_in_work, gauge, "copies of requests in work") \
    M(mirror_body_bytes, gauge, "bytes of bodies that copies in work hold") \
    M(spool_memory_bytes, gauge, "bytes of bodies held in memory") \
    M(spool_disk_bytes, gauge, "bytes of bodies held in spool files") \
    M(spool_to_disk, counter, "bodies that went on to a spool file") \
    M(spool_back_pressure, counter, "times a body had to wait because a budget was used up or the disk failed") \
    M(log_lines, counter, "access log lines written") \
    M(log_lines_dropped, counter, "log lines dropped because the log could not keep up") \
    M(file_jobs, gauge, "file operations waiting in the thread pool") \
    M(buffer_bytes, gauge, "bytes of pooled network buffers in use") \
    M(cache_hits, counter, "requests answered from the cache with a fresh response") \
    M(cache_stale_hits, counter, "requests answered from the cache with a stale response, for whatever reason") \
    M(cache_misses, counter, "requests of routes that cache for which a server was asked") \
    M(cache_waits, counter, "times a request waited for another's fetch of the same") \
    M(cache_validated, counter, "stored responses that a server has confirmed (304)") \
    M(cache_stored, counter, "responses stored whole") \
    M(cache_fills, counter, "responses whose storing was begun") \
    M(cache_fills_open, gauge, "responses being stored") \
    M(cache_fills_aborted, counter, "responses whose storing was given up: cut by the server, not wanted, or without room") \
    M(cache_background, counter, "fetches that no client waited for") \
    M(cache_stale_on_error, counter, "stale responses served in place of a server's failure") \
    M(cache_purges, counter, "requests with the method PURGE that were carried out") \
    M(cache_invalidated, counter, "URLs made invalid by requests that change something") \
    M(cache_disk_hits, counter, "requests for which the disk tier had what memory had not") \
    M(cache_disk_serves, counter, "requests answered from disk block by block, as the body is too large for memory") \
    M(cache_disk_fetches, counter, "fetches in the background of what is too large for memory, for the disk tier alone") \
    M(cache_disk_loads, counter, "responses loaded whole from disk into memory") \
    M(cache_disk_writes, counter, "responses written to disk") \
    M(cache_disk_write_refused, counter, "times a response was not written to disk: too many at once, no room, or set aside") \
    M(cache_disk_too_large, counter, "responses not written to disk: larger than what it has free or may keep") \
    M(cache_disk_bad_files, counter, "files of the disk tier that were removed because they were damaged, cut off or gone") \
    M(cache_disk_errors, counter, "operations of the disk tier that failed: disk full, read-only, broken") \
    M(cache_disk_bad, gauge, "processes that have set the disk tier aside after a failure, and try again every 30 s") \
    M(error_lines_dropped, counter, "lines of the error log held back or lost: they came too fast, or it could not keep up") \
    LADLE_REASONS(LADLE_REASON_METRIC, M)

namespace ladle::shm {

enum class Metric : std::uint32_t {
#define LADLE_METRIC_ENUM(name, kind, help) name,
    LADLE_METRICS(LADLE_METRIC_ENUM)
#undef LADLE_METRIC_ENUM
};

#define LADLE_METRIC_COUNT(name, kind, help) +1
inline constexpr std::size_t kMetricCount = 0 LADLE_METRICS(LADLE_METRIC_COUNT);
#undef LADLE_METRIC_COUNT

enum class MetricKind : std::uint8_t { counter, gauge };

struct MetricDescription {
    const char* name;
    MetricKind kind;
    const char* help;
};

inline constexpr MetricDescription kMetrics[] = {
#define LADLE_METRIC_ROW(name, kind, help) {#name, MetricKind::kind, help},
    LADLE_METRICS(LADLE_METRIC_ROW)
#undef LADLE_METRIC_ROW
};

} // namespace ladle::shm
