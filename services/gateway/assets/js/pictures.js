// The pictures made with this page. They are kept in this browser's IndexedDB, so that a reload does not lose them, and
// nowhere else; where storage is forbidden or full they live as long as the page does.

const STORE = "pictures";
/** How many are kept; the oldest go first. */
const KEPT = 200;

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("unipic-playground", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Newest first. A picture is { id, blob, url, prompt, mode, options, seed, width, height, source, model, at }. */
export class Pictures extends EventTarget {
  #pictures = [];
  #database = null;

  /** Everything, newest first. */
  get all() {
    return this.#pictures;
  }

  /** Opens the store and reads what it holds. */
  async load() {
    try {
      this.#database = await opened();
      const request = this.#database.transaction(STORE).objectStore(STORE).getAll();
      const kept = await new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
      for (const picture of kept) this.#pictures.push({ ...picture, url: URL.createObjectURL(picture.blob) });
      this.#pictures.sort((a, b) => b.at - a.at);
      this.#changed();
    } catch {
      this.#database = null;
    }
  }

  /** Adds a new picture and returns it with its id and URL. */
  async add(made) {
    const picture = { ...made, id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, at: Date.now(), url: URL.createObjectURL(made.blob) };
    this.#pictures.unshift(picture);
    const dropped = this.#pictures.splice(KEPT);
    this.#changed();
    const { url: _, ...kept } = picture;
    await this.#write((store) => {
      store.put(kept);
      for (const { id } of dropped) store.delete(id);
    });
    return picture;
  }

  /** Forgets one picture. */
  async remove(id) {
    // Its URL stays valid: the conversation may still show it.
    this.#pictures = this.#pictures.filter((picture) => picture.id !== id);
    this.#changed();
    await this.#write((store) => store.delete(id));
  }

  /** Forgets all. */
  async clear() {
    this.#pictures = [];
    this.#changed();
    await this.#write((store) => store.clear());
  }

  async #write(change) {
    if (!this.#database) return;
    try {
      const transaction = this.#database.transaction(STORE, "readwrite");
      change(transaction.objectStore(STORE));
      await finished(transaction);
    } catch {
      // Full or forbidden: the picture is still in memory, which is what this page promises.
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
