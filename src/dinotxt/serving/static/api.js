// Talking to the server: tokens, errors in words, and answers that come line by line.

let token = sessionStorage.getItem("dinotxt-token") || "";

export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

function askForToken() {
  const dialog = document.getElementById("token-dialog");
  const input = document.getElementById("token");
  if (dialog.open) return new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  input.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      token = input.value;
      sessionStorage.setItem("dinotxt-token", token);
      resolve();
    }, { once: true });
  });
}

async function describe(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

async function request(path, options = {}) {
  let response;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Is it still running?");
  }
  if (response.status === 401) {
    await askForToken();
    if (!token) throw new ServerError(await describe(response), 401);
    return request(path, options);
  }
  if (!response.ok) throw new ServerError(await describe(response), response.status);
  return response;
}

export async function getJson(path) {
  return (await request(path)).json();
}

export async function getBlob(path, signal) {
  return (await request(path, { signal })).blob();
}

export async function postForm(path, fields, signal) {
  const body = new FormData();
  for (const [name, value] of fields) body.append(name, value);
  return request(path, { method: "POST", body, signal });
}

// Read {"progress"} lines as they come and return the "result" of the last one.
export async function readLines(response, onProgress) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let result = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line);
      if (event.error) throw new ServerError(event.error.message, event.error.status);
      if (event.progress) onProgress(event.progress);
      if (event.result) result = event.result;
    }
  }
  if (!result) throw new ServerError("The server broke off before it was done. Try a faster mode or fewer labels.");
  return result;
}
