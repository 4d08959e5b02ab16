#!/usr/bin/env python3
"""TLS in front of a PostgreSQL that has none: `postgres_tls.py PORT` prints its own port and forwards to that one, until its input ends.

What a client sees is a server with the certificate tls/server.pem, which is for `localhost` and nobody else. Its key is in the repository: it
protects nothing.
"""

import pathlib
import socket
import ssl
import struct
import sys
import threading

TLS = pathlib.Path(__file__).with_name("tls")
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for side in (source, target):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(plain: socket.socket, port: int, context: ssl.SSLContext) -> None:
    try:
        # A client that does not ask for TLS is turned away.
        if plain.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
            plain.close()
            return
        plain.sendall(b"S")
        client = context.wrap_socket(plain, server_side=True)
    except OSError:
        plain.close()
        return
    server = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=serve, args=(plain, int(sys.argv[1]), context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
