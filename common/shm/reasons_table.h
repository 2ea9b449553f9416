// SPDX-License-Identifier: Apache-2.0
//
// Why a request or a connection ended as it did, once: R(X, name, text), with X passed through. The name stands in the access log
// ("reason") and each is a counter (metrics_table.h, "ended_NAME"). worker/request/reason.h makes the enum of it.
#pragma once

#define LADLE_REASONS(R, X) \
    R(X, ok, "answered") \
    R(X, bad_request, "the request was malformed") \
    R(X, bad_framing, "the request's length was ambiguous") \
    R(X, bad_host, "Host was missing, repeated or malformed") \
    R(X, misdirected, "an https target on a connection that is not secured") \
    R(X, not_tls, "plain HTTP where TLS is spoken") \
    R(X, too_early, "a request in early data that has to wait, and the handshake did not end") \
    R(X, bad_chunk, "the request's chunked coding was broken") \
    R(X, bad_version, "not HTTP/1.0 or HTTP/1.1") \
    R(X, method_not_allowed, "a method that is not proxied") \
    R(X, target_too_long, "the target was over its limit") \
    R(X, head_too_large, "the request's head was over its limit") \
    R(X, body_too_large, "the request's body was over its limit") \
    R(X, expectation_failed, "an expectation other than 100-continue") \
    R(X, head_timeout, "the request's head took too long") \
    R(X, body_timeout, "the request's body stalled") \
    R(X, no_site, "no site of that name") \
    R(X, no_route, "no route matched") \
    R(X, only_if_cached, "the client wanted a stored response only, and there is none that may be used") \
    R(X, purge_refused, "the client may not purge") \
    R(X, purge_failed, "the table of purges could not be had") \
    R(X, client_left, "the client left before its answer was complete") \
    R(X, client_stalled, "the client stopped reading") \
    R(X, no_server, "no server could be used") \
    R(X, breaker_open, "the breaker of the upstream was open: too many of its requests had failed") \
    R(X, name_unresolved, "the server's name has no address yet") \
    R(X, queue_full, "too many requests wait for a server") \
    R(X, queue_timeout, "no server became free in time") \
    R(X, connect_failed, "the server refused or could not be reached") \
    R(X, server_tls, "TLS with the server failed: its certificate, its name, or it speaks none") \
    R(X, server_not_h2, "the server does not speak HTTP/2, as its upstream says it does") \
    R(X, server_refused, "the server said that it did not process the request, and it could not be sent again") \
    R(X, connect_timeout, "the server did not take the connection in time") \
    R(X, server_reset, "the server closed or reset before it answered") \
    R(X, server_timeout, "the server did not answer in time") \
    R(X, server_bad_head, "the server's response head was malformed or too large") \
    R(X, server_bad_framing, "the length of the server's response was ambiguous") \
    R(X, server_bad_interim, "the server sent an interim response that may not be there") \
    R(X, server_cut, "the server's response ended before its length") \
    R(X, server_bad_chunk, "the server's chunked coding was broken") \
    R(X, server_stalled, "the server stopped sending") \
    R(X, tunnel_closed, "the tunnel ended") \
    R(X, tunnel_idle, "the tunnel was silent too long")
