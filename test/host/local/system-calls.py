# Makes system calls that a filter may refuse, with arguments that are wrong or harmless, and prints the errno of each as JSON.
# Calls that want a privilege say "not permitted" anyway, and prove nothing: these do not.
import ctypes, json, platform

libc = ctypes.CDLL(None, use_errno=True)
x64 = platform.machine() == 'x86_64'
calls = {
    'ptrace': (101 if x64 else 117, 99999, 0, 0, 0),
    'keyctl': (250 if x64 else 219, 99999, 0, 0, 0),
    'add_key': (248 if x64 else 217, 0, 0, 0, 0),
    'request_key': (249 if x64 else 218, 0, 0, 0, 0),
    'unshare': (272 if x64 else 97, 0, 0, 0, 0),
    'perf_event_open': (298 if x64 else 241, 0, 0, 0, 0),
    'io_uring_setup': (425, 0, 0, 0, 0),
    'io_uring_enter': (426, -1, 0, 0, 0),
    'process_vm_readv': (310 if x64 else 270, 1, 0, 0, 0),
    'personality': (135 if x64 else 92, 0xffffffff, 0, 0, 0),
    'mount_setattr': (442, -1, 0, 0, 0),
    'setns': (308 if x64 else 268, -1, 0, 0, 0),
    'socket_netlink': (41 if x64 else 198, 16, 3, 0, 0),
    'socket_alg': (41 if x64 else 198, 38, 99, 0, 0),
    'clone3': (435, 0, 0, 0, 0),
}
found = {}
for name, (number, *arguments) in calls.items():
    ctypes.set_errno(0)
    failed = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(one) for one in arguments]) == -1
    found[name] = ctypes.get_errno() if failed else 0
print(json.dumps(found))
