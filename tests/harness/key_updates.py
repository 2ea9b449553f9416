# SPDX-License-Identifier: Apache-2.0
"""A TLS 1.3 client that sends KeyUpdates, which Python's ssl cannot: OpenSSL by ctypes, over a socket."""

import ctypes
import socket

_SSL, _CRYPTO = ctypes.CDLL("libssl.so.3"), ctypes.CDLL("libcrypto.so.3")
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


def _function(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


_method = _function(_SSL, "TLS_client_method", _POINTER)
_new_context = _function(_SSL, "SSL_CTX_new", _POINTER, _POINTER)
_free_context = _function(_SSL, "SSL_CTX_free", None, _POINTER)
_new = _function(_SSL, "SSL_new", _POINTER, _POINTER)
_free = _function(_SSL, "SSL_free", None, _POINTER)
_set_fd = _function(_SSL, "SSL_set_fd", _INT, _POINTER, _INT)
_connect = _function(_SSL, "SSL_connect", _INT, _POINTER)
_key_update = _function(_SSL, "SSL_key_update", _INT, _POINTER, _INT)
_handshake = _function(_SSL, "SSL_do_handshake", _INT, _POINTER)
_write = _function(_SSL, "SSL_write", _INT, _POINTER, ctypes.c_char_p, _INT)
_read = _function(_SSL, "SSL_read", _INT, _POINTER, _POINTER, _INT)
_clear_errors = _function(_CRYPTO, "ERR_clear_error", None)


class KeyUpdater:
    def __init__(self, address):
        self.sock = socket.create_connection(address, 10)
        self.sock.setblocking(True)
        self.context = _new_context(_method())
        self.ssl = _new(self.context)
        _set_fd(self.ssl, self.sock.fileno())
        assert _connect(self.ssl) == 1, "no handshake"

    def update(self, times=1):
        """How many were sent before the connection was cut."""
        for number in range(times):
            _key_update(self.ssl, 0)
            if _handshake(self.ssl) != 1:
                _clear_errors()
                return number
        return times

    def request(self, text):
        """Sends it; the answer's first bytes, b"" if the connection has ended."""
        buffer = ctypes.create_string_buffer(1 << 16)
        size = _read(self.ssl, buffer, len(buffer)) if _write(self.ssl, text, len(text)) > 0 else 0
        _clear_errors()
        return buffer.raw[:max(size, 0)]

    def close(self):
        _free(self.ssl)
        _free_context(self.context)
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
