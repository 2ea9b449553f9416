# SPDX-License-Identifier: Apache-2.0
"""A TLS 1.3 client that sends early data (0-RTT), which Python's ssl cannot: OpenSSL itself, through ctypes, on memory BIOs. Nothing is
sent or received but when a test says so, so the handshake can stay unfinished, and what was sent can be sent again."""

import ctypes
import ctypes.util
import socket

from . import waiting
from .wire import Reader

_ssl = ctypes.CDLL(ctypes.util.find_library("ssl"))
_crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
NOT_SENT, REJECTED, ACCEPTED = range(3)
SET_MIN_VERSION, TLS_1_3 = 123, 0x0304
SET_HOST_NAME = 55


def _declare(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


_p, _i, _z = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_size = ctypes.POINTER(_z)
_new_settings = _declare(_ssl, "SSL_CTX_new", _p, _p)
_method = _declare(_ssl, "TLS_client_method", _p)
_settings_control = _declare(_ssl, "SSL_CTX_ctrl", ctypes.c_long, _p, _i, ctypes.c_long, _p)
_new = _declare(_ssl, "SSL_new", _p, _p)
_free = _declare(_ssl, "SSL_free", None, _p)
_control = _declare(_ssl, "SSL_ctrl", ctypes.c_long, _p, _i, ctypes.c_long, _p)
_set_bio = _declare(_ssl, "SSL_set_bio", None, _p, _p, _p)
_set_connect = _declare(_ssl, "SSL_set_connect_state", None, _p)
_set_session = _declare(_ssl, "SSL_set_session", _i, _p, _p)
_get_session = _declare(_ssl, "SSL_get1_session", _p, _p)
_most_early = _declare(_ssl, "SSL_SESSION_get_max_early_data", ctypes.c_uint32, _p)
_set_alpn = _declare(_ssl, "SSL_set_alpn_protos", _i, _p, ctypes.c_char_p, ctypes.c_uint)
_handshake = _declare(_ssl, "SSL_do_handshake", _i, _p)
_is_finished = _declare(_ssl, "SSL_is_init_finished", _i, _p)
_write = _declare(_ssl, "SSL_write_ex", _i, _p, ctypes.c_char_p, _z, _size)
_write_early = _declare(_ssl, "SSL_write_early_data", _i, _p, ctypes.c_char_p, _z, _size)
_read = _declare(_ssl, "SSL_read_ex", _i, _p, ctypes.c_char_p, _z, _size)
_early_status = _declare(_ssl, "SSL_get_early_data_status", _i, _p)
_set_shutdown = _declare(_ssl, "SSL_set_shutdown", None, _p, _i)
_shutdown_state = _declare(_ssl, "SSL_get_shutdown", _i, _p)
_clear_errors = _declare(_crypto, "ERR_clear_error", None)
_new_bio = _declare(_crypto, "BIO_new", _p, _p)
_memory = _declare(_crypto, "BIO_s_mem", _p)
_bio_read = _declare(_crypto, "BIO_read", _i, _p, ctypes.c_char_p, _i)
_bio_write = _declare(_crypto, "BIO_write", _i, _p, ctypes.c_char_p, _i)
_settings = _new_settings(_method())
_settings_control(_settings, SET_MIN_VERSION, TLS_1_3, None)


class EarlyClient:
    """One connection. `session` is another's session(); certificates are not verified. `sent` is what went out until the handshake was done."""

    def __init__(self, address, session=None, name="site.test", protocols=(), timeout=waiting.PATIENCE):
        self.sock = socket.create_connection(address, timeout)
        self.ssl, self.incoming, self.outgoing = _new(_settings), _new_bio(_memory()), _new_bio(_memory())
        _set_bio(self.ssl, self.incoming, self.outgoing)
        _control(self.ssl, SET_HOST_NAME, 0, ctypes.cast(ctypes.c_char_p(name.encode()), _p))
        if protocols:
            listed = b"".join(bytes([len(protocol)]) + protocol.encode() for protocol in protocols)
            _set_alpn(self.ssl, listed, len(listed))
        if session:
            assert _set_session(self.ssl, session) == 1
        _set_connect(self.ssl)
        self.sent = b""
        self.reader = Reader(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.ssl:
            self.sock.close()
            _set_shutdown(self.ssl, 3)
            _free(self.ssl)
            self.ssl = None

    def _flush(self):
        buffer = ctypes.create_string_buffer(65536)
        while (size := _bio_read(self.outgoing, buffer, len(buffer))) > 0:
            self.sent += b"" if _is_finished(self.ssl) else buffer.raw[:size]
            self.sock.sendall(buffer.raw[:size])

    def _receive(self):
        """False: the peer has closed the connection."""
        part = self.sock.recv(65536)
        _bio_write(self.incoming, part, len(part))
        return bool(part)

    def send_early(self, text):
        """With the first message, or behind it; before anything is received."""
        count = _z()
        _clear_errors()
        assert _write_early(self.ssl, text, len(text), ctypes.byref(count)) == 1 and count.value == len(text)
        self._flush()
        return self

    def finish(self):
        """Ends the handshake."""
        _clear_errors()
        while _handshake(self.ssl) != 1:
            self._flush()
            if not self._receive():
                raise ConnectionError("the handshake was broken off")
            _clear_errors()
        self._flush()
        return self

    @property
    def early_status(self):
        return _early_status(self.ssl)

    def session(self):
        """To be resumed by another; it came before the first answer."""
        session = _get_session(self.ssl)
        return session

    def sendall(self, text):
        count = _z()
        assert _write(self.ssl, text, len(text), ctypes.byref(count)) == 1
        self._flush()

    def recv(self, size):
        """As of a socket; b"" is the end as close_notify says it."""
        buffer, count = ctypes.create_string_buffer(size), _z()
        while True:
            _clear_errors()
            if _read(self.ssl, buffer, size, ctypes.byref(count)) == 1:
                return buffer.raw[:count.value]
            self._flush()
            if _shutdown_state(self.ssl) & 2:
                return b""
            if not self._receive():
                raise ConnectionResetError("an end without close_notify")

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def response(self, method="GET"):
        return self.reader.response(method)


def most_early(session):
    """How many bytes of early data the session's ticket allows."""
    return _most_early(session)
