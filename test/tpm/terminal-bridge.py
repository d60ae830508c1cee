"""A terminal that behaves as /dev/tpm0: what is written goes to the socket of a software TPM, its answers come back in parts."""
import os
import select
import socket
import sys
import tty

ours, theirs = os.openpty()
tty.setraw(theirs)
tpm = socket.socket(socket.AF_UNIX)
tpm.connect(sys.argv[1])
print(os.ttyname(theirs), flush=True)
while True:
    ready, _, _ = select.select([ours, tpm, sys.stdin], [], [])
    if sys.stdin in ready:
        break
    if ours in ready:
        tpm.sendall(os.read(ours, 4096))
    if tpm in ready:
        answer = tpm.recv(4096)
        for at in range(0, len(answer), 7):
            os.write(ours, answer[at:at + 7])
