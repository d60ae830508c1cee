/* SoftHSM with one fault, named in the file $FAULT: read at each call, so that a test can switch it on and off. */
#define CK_PTR *
#define CK_DECLARE_FUNCTION(returnType, name) returnType name
#define CK_DECLARE_FUNCTION_POINTER(returnType, name) returnType(*name)
#define CK_CALLBACK_FUNCTION(returnType, name) returnType(*name)
#ifndef NULL_PTR
#define NULL_PTR 0
#endif
#include "pkcs11.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static CK_FUNCTION_LIST list;
static CK_FUNCTION_LIST_PTR real;

static int fault(const char *name) {
  char found[32] = "";
  const char *path = getenv("FAULT");
  FILE *file = path ? fopen(path, "r") : 0;
  if (file) {
    fgets(found, sizeof found, file);
    fclose(file);
  }
  return strcmp(found, name) == 0;
}

static CK_RV derive(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k, CK_ATTRIBUTE_PTR t, CK_ULONG n,
                    CK_OBJECT_HANDLE_PTR o) {
  if (fault("hang")) for (;;) pause();
  if (fault("crash")) *(volatile int *)0 = 1;
  if (fault("removed")) return CKR_DEVICE_REMOVED;
  if (fault("error")) return CKR_FUNCTION_FAILED;
  return real->C_DeriveKey(s, m, k, t, n, o);
}

static CK_RV generate(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR a, CK_ULONG an, CK_ATTRIBUTE_PTR b,
                      CK_ULONG bn, CK_OBJECT_HANDLE_PTR x, CK_OBJECT_HANDLE_PTR y) {
  if (fault("full")) return CKR_DEVICE_MEMORY;
  return real->C_GenerateKeyPair(s, m, a, an, b, bn, x, y);
}

static CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE u, CK_UTF8CHAR_PTR p, CK_ULONG n) {
  if (fault("locked")) return CKR_PIN_LOCKED;
  if (fault("login-crash")) *(volatile int *)0 = 1;
  return real->C_Login(s, u, p, n);
}

/* The number of a slot is another one while the fault is on. */
static CK_SLOT_ID shift(void) { return fault("renumbered") ? 7 : 0; }

static CK_RV slot_list(CK_BBOOL present, CK_SLOT_ID_PTR list, CK_ULONG_PTR count) {
  CK_RV value = real->C_GetSlotList(present, list, count);
  if (value == CKR_OK && list) for (CK_ULONG at = 0; at < *count; at++) list[at] ^= shift();
  return value;
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info) {
  CK_RV value = real->C_GetTokenInfo(slot ^ shift(), info);
  if (value != CKR_OK) return value;
  if (fault("write-protected")) info->flags |= CKF_WRITE_PROTECTED;
  if (fault("last-try")) info->flags |= CKF_USER_PIN_FINAL_TRY;
  if (fault("count-low") || fault("login-crash")) info->flags |= CKF_USER_PIN_COUNT_LOW;
  return value;
}

static CK_RV mechanisms(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR list, CK_ULONG_PTR count) {
  return real->C_GetMechanismList(slot ^ shift(), list, count);
}

static int sessions;

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS f, CK_VOID_PTR p, CK_NOTIFY n, CK_SESSION_HANDLE_PTR s) {
  int most = fault("one-session") ? 1 : fault("three-sessions") ? 3 : 1000;
  if (sessions >= most) return CKR_SESSION_COUNT;
  if (fault("write-protected") && (f & CKF_RW_SESSION)) return CKR_TOKEN_WRITE_PROTECTED;
  CK_RV value = real->C_OpenSession(slot ^ shift(), f, p, n, s);
  if (value == CKR_OK) sessions++;
  return value;
}

static CK_RV close_session(CK_SESSION_HANDLE s) {
  CK_RV value = real->C_CloseSession(s);
  if (value == CKR_OK) sessions--;
  return value;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
  void *library = dlopen(SOFTHSM, RTLD_NOW | RTLD_LOCAL);
  CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : 0;
  if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
  list = *real;
  list.C_DeriveKey = derive;
  list.C_GenerateKeyPair = generate;
  list.C_Login = login;
  list.C_GetSlotList = slot_list;
  list.C_GetTokenInfo = token_info;
  list.C_GetMechanismList = mechanisms;
  list.C_OpenSession = open_session;
  list.C_CloseSession = close_session;
  *out = &list;
  return CKR_OK;
}
