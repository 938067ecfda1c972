// A picture as the page sends it: upright, and no larger than it needs to be.

const LONG_SIDE = 1600;
const AS_THEY_ARE = new Set(["image/jpeg", "image/png", "image/webp"]);

export async function openPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    const name = file.name ? `“${file.name}”` : "This";
    throw new Error(`${name} is not a picture that this browser can open. Try a JPEG or a PNG.`);
  }
  const scale = Math.min(1, LONG_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && AS_THEY_ARE.has(file.type)) return { bitmap, blob: file, name: file.name };
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.93));
  return { bitmap: await createImageBitmap(canvas), blob, name: file.name };
}

export function pictureOf(transfer) {
  return [...(transfer?.files || [])].find((file) => file.type.startsWith("image/")) || transfer?.files?.[0];
}
