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
  if (fault("crash")) _exit(139);
  if (fault("removed")) return CKR_DEVICE_REMOVED;
  if (fault("error")) return CKR_FUNCTION_FAILED;
  return real->C_DeriveKey(s, m, k, t, n, o);
}

static CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE u, CK_UTF8CHAR_PTR p, CK_ULONG n) {
  if (fault("locked")) return CKR_PIN_LOCKED;
  return real->C_Login(s, u, p, n);
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info) {
  CK_RV value = real->C_GetTokenInfo(slot, info);
  if (fault("last-try")) info->flags |= CKF_USER_PIN_FINAL_TRY;
  return value;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
  void *library = dlopen(SOFTHSM, RTLD_NOW | RTLD_LOCAL);
  CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : 0;
  if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
  list = *real;
  list.C_DeriveKey = derive;
  list.C_Login = login;
  list.C_GetTokenInfo = token_info;
  *out = &list;
  return CKR_OK;
}
